"""The property list says to launchd what umad needs, in Apple's words and no others."""

import plistlib

import pytest

from umad.system_service.job import Job
from umad.system_service.launchd_plist import LABEL, property_list
from umad.system_service.own_files import MARK

# Of launchd.plist(5).
DOCUMENTED = frozenset(
    {
        "Label",
        "Disabled",
        "UserName",
        "GroupName",
        "inetdCompatibility",
        "LimitLoadToHosts",
        "LimitLoadFromHosts",
        "LimitLoadToSessionType",
        "LimitLoadToHardware",
        "LimitLoadFromHardware",
        "Program",
        "BundleProgram",
        "ProgramArguments",
        "EnableGlobbing",
        "EnableTransactions",
        "EnablePressuredExit",
        "OnDemand",
        "ServiceIPC",
        "KeepAlive",
        "RunAtLoad",
        "RootDirectory",
        "WorkingDirectory",
        "EnvironmentVariables",
        "Umask",
        "TimeOut",
        "ExitTimeOut",
        "ThrottleInterval",
        "InitGroups",
        "WatchPaths",
        "QueueDirectories",
        "StartOnMount",
        "StartInterval",
        "StartCalendarInterval",
        "StandardInPath",
        "StandardOutPath",
        "StandardErrorPath",
        "Debug",
        "WaitForDebugger",
        "SoftResourceLimits",
        "HardResourceLimits",
        "Nice",
        "ProcessType",
        "AbandonProcessGroup",
        "LowPriorityIO",
        "LowPriorityBackgroundIO",
        "MaterializeDatalessFiles",
        "LaunchOnlyOnce",
        "MachServices",
        "Sockets",
        "LaunchEvents",
        "SessionCreate",
        "LegacyTimers",
        "AssociatedBundleIdentifiers",
    }
)
DOCUMENTED_LIMITS = frozenset(
    {
        "Core",
        "CPU",
        "Data",
        "FileSize",
        "MemoryLock",
        "NumberOfFiles",
        "NumberOfProcesses",
        "ResidentSetSize",
        "Stack",
    }
)
JOB = Job(
    command=("/opt/homebrew/bin/umad", "serve", "--http=127.0.0.1:8080"),
    environment={"UMAD_MODELS": '/Volumes/big & "slow"/models'},
    stop_s=49.5,
)
LOG = "/Users/ann/Library/Logs/umad/umad.log"


@pytest.mark.parametrize("user", [None, "ann"])
def test_every_key_is_one_that_apple_documents(user: str | None) -> None:
    keys = plistlib.loads(property_list(JOB, log=LOG, user=user))

    assert keys.keys() <= DOCUMENTED
    assert keys["SoftResourceLimits"].keys() <= DOCUMENTED_LIMITS
    assert keys["KeepAlive"].keys() <= {"SuccessfulExit", "PathState", "Crashed", "OtherJobEnabled"}


def test_an_agent_runs_at_the_login_and_again_after_a_crash_but_not_after_a_stop() -> None:
    keys = plistlib.loads(property_list(JOB, log=LOG))

    assert keys["Label"] == LABEL
    assert keys["ProgramArguments"] == list(JOB.command)
    assert keys["EnvironmentVariables"] == dict(JOB.environment)
    assert keys["RunAtLoad"] is True
    assert keys["KeepAlive"] == {"SuccessfulExit": False}
    assert keys["ThrottleInterval"] == 5
    assert keys["ProcessType"] == "Interactive"
    assert keys["LimitLoadToSessionType"] == "Aqua"
    assert keys["StandardOutPath"] == keys["StandardErrorPath"] == LOG
    assert "UserName" not in keys


def test_files_it_makes_are_the_users_alone() -> None:
    assert plistlib.loads(property_list(JOB, log=LOG))["Umask"] == 63


def test_answers_have_their_time_before_the_kill() -> None:
    assert plistlib.loads(property_list(JOB, log=LOG))["ExitTimeOut"] == 50


def test_a_crowd_of_clients_finds_open_files() -> None:
    assert plistlib.loads(property_list(JOB, log=LOG))["SoftResourceLimits"] == {
        "NumberOfFiles": 8192
    }


def test_a_daemon_of_the_system_runs_as_the_user_with_the_users_home() -> None:
    keys = plistlib.loads(property_list(JOB, log=LOG, user="ann", home="/Users/ann"))

    assert keys["UserName"] == "ann"
    assert keys["EnvironmentVariables"]["HOME"] == "/Users/ann"
    assert keys["LimitLoadToSessionType"] == "System"


def test_the_file_says_who_wrote_it() -> None:
    assert MARK in property_list(JOB, log=LOG)
