"""Fixtures of the end-to-end tests. Run with ADIT_BUILD=build-folder /usr/bin/python3 -m pytest tests/e2e"""
import os
import resource
import signal
import sys
from pathlib import Path

import pytest

sys.dont_write_bytecode = True
sys.path.insert(0, str(Path(__file__).parent))

import harness  # noqa: E402  (the folder is put on the path first)


def pytest_configure(config):
    config.addinivalue_line("markers", "big: moves gigabytes or measures; needs a build without sanitizers")
    config.addinivalue_line("markers", "valgrind: runs the programs under valgrind; needs a build without sanitizers")
    config.addinivalue_line("markers", "sandboxed: runs on both builds: only without sanitizers the sandbox is on")
    config.addinivalue_line("markers", "soak: minutes long; only by contrib/check.sh --soak")
    # told to end, by a time limit say: end the programs too
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    # a thousand visitors and a thousand origin connections stand in this one process
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard if hard == resource.RLIM_INFINITY else min(hard, 65536), hard))


def pytest_sessionstart(session):
    for program in (harness.ADITD, harness.ADIT):
        if not program.exists():
            pytest.exit(f"{program} is not built; set ADIT_BUILD to the build folder", returncode=2)


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    """A failed test shows the ends of the programs' logs."""
    outcome = yield
    report = outcome.get_result()
    folder = getattr(item, "stage_folder", None)
    if report.failed and folder:
        for log in sorted(Path(folder).rglob("*.log"), key=lambda p: p.stat().st_mtime)[-4:]:
            tail = log.read_text(errors="replace").splitlines()[-20:]
            if tail:
                report.sections.append((f"{log.parent.name}/{log.name} (end)", "\n".join(tail)))


@pytest.fixture(scope="session")
def base(tmp_path_factory):
    return tmp_path_factory.mktemp("adit")


@pytest.fixture(scope="session")
def reports(base):
    """Where sanitizers write; a file in it fails the test during which it appeared."""
    folder = Path(os.environ.get("ADIT_REPORTS") or base / "reports")
    folder.mkdir(parents=True, exist_ok=True)
    os.environ["ADIT_REPORTS"] = str(folder)
    return folder


@pytest.fixture(scope="session")
def authority(base):
    return harness.Authority(base / "ca")


@pytest.fixture(scope="session")
def nginx(base):
    origin = harness.Nginx(base / "nginx")
    (origin.root / "2k").write_bytes(bytes(range(256)) * 8)
    (origin.root / "hello.txt").write_text("hello from nginx\n")
    with open(origin.root / "10m", "wb") as f:
        f.write(os.urandom(1 << 20) * 10)
    yield origin
    origin.stop()


class Stage:
    """Holds the shared world, and builds another one when a test has left it dead."""

    def __init__(self, base, authority, nginx):
        self.base, self.authority, self.nginx = base, authority, nginx
        self.world, self.count = None, 0

    def get(self):
        if self.world and not self.world.alive():
            self.world.end()
            self.world = None
        if not self.world:
            self.count += 1
            self.world = harness.World(self.base / f"world{self.count}", self.authority, self.nginx)
        return self.world


@pytest.fixture(scope="session")
def stage(base, reports, authority, nginx):
    stage = Stage(base, authority, nginx)
    yield stage
    if stage.world:
        problems = stage.world.end()
        assert not problems, "\n".join(problems)
        assert not list(reports.iterdir()), "sanitizer reports: " + tell(reports.iterdir())


def tell(files):
    return "\n\n".join(f"{f.name}:\n" + "\n".join(f.read_text(errors="replace").splitlines()[:60]) for f in files)


@pytest.fixture(autouse=True)
def no_reports(reports):
    """No sanitizer may have spoken during the test."""
    before = set(reports.iterdir())
    yield
    after = sorted(set(reports.iterdir()) - before)
    assert not after, "sanitizer reports:\n" + tell(after)


@pytest.fixture
def world(stage, request):
    """The shared programs, with origins that answer by default; both must live on after the test."""
    world = stage.get()
    world.reset()
    request.node.stage_folder = world.folder
    yield world
    world.origin.serve(None)
    for program in (world.aditd, world.adit):
        assert program.alive(), f"{program.name} ended with {program.process.poll()} during this test"


class Own:
    """Programs of one test alone; whatever still runs at its end is killed."""

    def __init__(self, folder, authority, nginx):
        self.folder, self.authority, self.nginx, self.things = folder, authority, nginx, []

    def keep(self, thing):
        self.things.append(thing)
        return thing

    def server(self, name="aditd", **config):
        return self.keep(harness.Server(self.folder / name, self.authority, **config))

    def origin(self, **options):
        return self.keep(harness.Origin(**options))

    def http(self, server, origin, *flags, folder="adit", **options):
        return self.keep(harness.adit_http(server, self.folder / folder, origin, *flags, **options))

    def tunnels(self, server, tunnels, **options):
        return self.keep(harness.Tunnels(server, self.folder / "adit", tunnels, **options))

    def run(self, argv, name, **options):
        return self.keep(harness.Program(argv, self.folder, name, **options))

    def end(self):
        for thing in reversed(self.things):
            program = getattr(thing, "program", thing)
            (program.kill if isinstance(program, harness.Program) else program.stop)()


@pytest.fixture
def own(tmp_path, authority, nginx, reports, request):
    request.node.stage_folder = tmp_path
    own = Own(tmp_path, authority, nginx)
    yield own
    own.end()
