"""Names the files of a router's folder that a gateway in front of the team uses, too.

front.sock   HAProxy's Unix socket for that gateway alone
fleet.json   how the fleet is, written each second by the router
team.json    the nodes' scorecards added up, their models and their requests
"""

from typing import Final

FRONT_SOCKET: Final = "front.sock"
FLEET_FILE: Final = "fleet.json"
TEAM_FILE: Final = "team.json"
