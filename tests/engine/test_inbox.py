import threading

from umad.engine.mail.step_mail import StepMail
from umad.protocol.link import CancelOrder, Stop


def test_mail_is_read_in_the_order_it_came() -> None:
    inbox = StepMail()
    for rid in range(3):
        inbox.put(CancelOrder(rid=rid))

    assert inbox.drain() == [CancelOrder(rid=0), CancelOrder(rid=1), CancelOrder(rid=2)]
    assert inbox.drain() == []


def test_waiting_ends_with_the_first_mail() -> None:
    inbox = StepMail()
    writer = threading.Thread(target=inbox.put, args=(Stop(),))
    writer.start()

    assert inbox.wait(60.0)
    writer.join()
    assert inbox.drain() == [Stop()]


def test_waiting_without_mail_ends_by_itself() -> None:
    assert not StepMail().wait(0.01)


def test_a_full_inbox_holds_the_writer_until_it_is_read() -> None:
    inbox = StepMail(limit=2)

    def write() -> None:
        for n in range(6):
            inbox.put(CancelOrder(rid=n))

    writer = threading.Thread(target=write)
    writer.start()

    read: list[object] = []
    while len(read) < 6:
        inbox.wait(60.0)
        mail = inbox.drain()
        assert len(mail) <= 2
        read += mail
    writer.join()

    assert read == [CancelOrder(rid=n) for n in range(6)]
