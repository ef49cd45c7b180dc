"""The programs under valgrind: no error, no leak, from start to SIGTERM."""
import shutil

import pytest

import harness
from wire import reply

MEMCHECK = ["valgrind", "--quiet", "--error-exitcode=98", "--leak-check=full", "--show-leak-kinds=definite,indirect",
            "--errors-for-leak-kinds=definite,indirect", "--track-fds=no", "--child-silent-after-fork=yes"]


@pytest.mark.valgrind
def test_clean_at_exit(own):
    """Both programs serve requests under valgrind and end with status 0: no error and no leak was found."""
    if not shutil.which("valgrind"):
        pytest.skip("valgrind is not installed")
    # valgrind makes system calls of its own
    server = own.keep(harness.Server(own.folder / "aditd", own.authority, wrap=MEMCHECK, sandbox="off"))
    origin = own.origin()
    adit = own.http(server, origin.port, "--name", "shop", "--sandbox", "off", wrap=MEMCHECK)
    adit.wait_event("published", timeout=60)
    with server.visit(timeout=60) as visitor:
        for i in range(5):
            assert visitor.fetch("POST", f"/{i}", body=b"x" * 100000).status == 200
    with server.visit(timeout=60) as visitor:
        visitor.ask(target="/left")
        visitor.reset()
    assert server.fetch("nobody", timeout=60).status == 404
    origin.serve(lambda c, r: (c.send(reply(200, b"cut", [("X", "y")])[:-1]), c.end()))
    with server.visit(timeout=60) as visitor:
        visitor.ask()
        assert visitor.head().status == 200
    adit.stop()
    server.program.stop()
