"""ingress: real HTTP proxies before aditd, run from the files of contrib/ingress with ports and paths substituted.

A file is fitted as a reader of contrib/ingress/README.md would: the addresses, the domain and the certificate's paths
are replaced by plain text substitution, and the file is included by the smallest main configuration of its program.
"""
import os
import shutil
import signal
import subprocess

from harness import DOMAIN, TOP, Program, can_connect, environment, free_port
from wire import eventually

FILES = TOP / "contrib" / "ingress"


def program(name):
    return shutil.which(name, path=os.environ.get("PATH", "") + ":/usr/sbin:/usr/local/sbin")


class Ingress:
    """One proxy of the kind `name` before `server`, listening on .port for visitors and adits alike."""

    file, binary, flags = "", "", ()
    reload_signal = signal.SIGHUP

    def __init__(self, folder, server, edit=None):
        self.folder, self.server, self.edit = folder, server, edit
        folder.mkdir(parents=True)
        self.port = free_port()
        both = folder / "both.pem"
        both.write_bytes(server.certificate.read_bytes() + server.key.read_bytes())
        both.chmod(0o600)
        self.both = both
        self.start()

    def start(self):
        self.write()
        self.program = Program(self.argv(), self.folder, self.binary, environment(self.folder))
        eventually(lambda: can_connect(self.port) or not self.program.alive(), lambda: self.program.text)
        assert self.program.alive(), f"{self.binary} does not start:\n{self.program.text}"

    def text(self):
        """The file of contrib/ingress, fitted."""
        text = (FILES / self.file).read_text()
        for old, new in self.substitutes():
            text = text.replace(old, new)
        return self.edit(text) if self.edit else text

    def substitutes(self):
        return [
            ("tunnel.example.com:443", f"{DOMAIN}:{self.port}"),
            ("tunnel.example.com", DOMAIN),
            ("0.0.0.0:443", f"127.0.0.1:{self.port}"),
            ("0.0.0.0,443", f"127.0.0.1,{self.port}"),
            ("127.0.0.1:8080", f"127.0.0.1:{self.server.plain_port}"),
            ("127.0.0.1,8080", f"127.0.0.1,{self.server.plain_port}"),
            ('"port" => 8080', f'"port" => {self.server.plain_port}'),
            ("127.0.0.1:8443", f"127.0.0.1:{self.server.proxy_port}"),
            ("/etc/ssl/adit/tunnel.both.pem", str(self.both)),
            ("/etc/ssl/adit/tunnel.pem", str(self.server.certificate)),
            ("/etc/ssl/adit/tunnel.key", str(self.server.key)),
            ("adit-visitors", f"adit-visitors-{self.port}"),
        ]

    def write(self):
        (self.folder / self.file).write_text(self.text())

    def argv(self):
        raise NotImplementedError

    def reload(self, edit=None):
        self.edit = edit
        self.write()
        self.program.signal(self.reload_signal)

    def restart(self, edit=None):
        """Cuts all that runs, and comes back with another file."""
        self.stop()
        self.edit = edit
        eventually(lambda: not can_connect(self.port), "it has stopped")
        self.start()

    def stop(self):
        """The whole process group: masters leave workers behind when they are killed."""
        try:
            os.killpg(self.program.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        self.program.kill()


class Nginx(Ingress):
    file, binary = "nginx.conf", "nginx"
    MAIN = """daemon off; worker_processes 2; pid nginx.pid; error_log stderr notice; user root;
events { worker_connections 1024; }
http { access_log off; client_body_temp_path tmp; proxy_temp_path tmp; fastcgi_temp_path tmp; uwsgi_temp_path tmp;
scgi_temp_path tmp; include site.conf; }
"""

    def write(self):
        (self.folder / "tmp").mkdir(exist_ok=True)
        main = self.MAIN if os.geteuid() == 0 else self.MAIN.replace(" user root;", "")
        (self.folder / "main.conf").write_text(main)
        (self.folder / "site.conf").write_text(self.text())

    def argv(self):
        return [program("nginx"), "-p", self.folder, "-e", self.folder / "error.log", "-c", self.folder / "main.conf"]


class HAProxy(Ingress):
    binary = "haproxy"
    reload_signal = signal.SIGUSR2
    # the values of Debian's /etc/haproxy/haproxy.cfg
    MAIN = """global
	maxconn 2000
defaults
	timeout connect 5000
	timeout client 50000
	timeout server 50000
"""

    def write(self):
        (self.folder / "main.cfg").write_text(self.MAIN)
        super().write()

    def argv(self):
        return [program("haproxy"), "-W", "-db", "-f", self.folder / "main.cfg", "-f", self.folder / self.file]


class HAProxyH1(HAProxy):
    file = "haproxy-h1.cfg"


class HAProxyH2(HAProxy):
    file = "haproxy-h2.cfg"


class HAProxyPassthrough(HAProxy):
    file = "haproxy-passthrough.cfg"


class HAProxyAlpn(HAProxy):
    file = "haproxy-alpn.cfg"


class Apache(Ingress):
    file, binary = "apache.conf", "apache2"
    reload_signal = signal.SIGUSR1
    # what a2enmod of the file's head loads, and Debian's own modules; reqtimeout is on in Debian
    MODULES = ("mpm_event", "authz_core", "socache_shmcb", "setenvif", "env", "reqtimeout", "headers", "ssl", "http2",
               "proxy", "proxy_http")

    def write(self):
        modules = "".join(f"LoadModule {m}_module /usr/lib/apache2/modules/mod_{m}.so\n" for m in self.MODULES)
        user = "User www-data\nGroup www-data\n" if os.geteuid() == 0 else ""
        (self.folder / "main.conf").write_text(
            f"ServerRoot {self.folder}\nServerName localhost\nPidFile apache.pid\nDefaultRuntimeDir {self.folder}\n"
            f"Mutex pthread\nErrorLog /dev/stderr\nTimeout 300\n{modules}{user}Include site.conf\n")
        (self.folder / "site.conf").write_text(self.text())

    def argv(self):
        return [program("apache2"), "-D", "FOREGROUND", "-d", self.folder, "-f", self.folder / "main.conf"]


class NghttpxH1(Ingress):
    file, binary = "nghttpx-h1.conf", "nghttpx"

    def argv(self):
        return [program("nghttpx"), "--conf", self.folder / self.file, "--errorlog-file=/dev/stderr", "--workers=1",
                "--no-ocsp"]


class NghttpxH2(NghttpxH1):
    file = "nghttpx-h2.conf"


class Caddy(Ingress):
    file, binary = "Caddyfile", "caddy"

    def write(self):
        if not hasattr(self, "admin"):
            self.admin = free_port()
        options = (f"{{\n\tadmin 127.0.0.1:{self.admin}\n\tauto_https disable_redirects\n\thttp_port {free_port()}\n"
                   "\tdefault_bind 127.0.0.1\n\tservers {\n\t\tprotocols h1 h2\n\t}\n}\nimport site\n")
        (self.folder / "Caddyfile").write_text(options)
        (self.folder / "site").write_text(self.text())

    def argv(self):
        return [program("caddy"), "run", "--config", self.folder / "Caddyfile"]

    def reload(self, edit=None):
        self.edit = edit
        self.write()
        argv = [program("caddy"), "reload", "--force", "--config", str(self.folder / "Caddyfile"),
                "--address", f"127.0.0.1:{self.admin}"]
        subprocess.run(argv, check=True, capture_output=True, timeout=20, env=environment(self.folder),
                       cwd=self.folder)


class Lighttpd(Ingress):
    file, binary = "lighttpd.conf", "lighttpd"
    reload_signal = signal.SIGUSR1

    def write(self):
        (self.folder / "main.conf").write_text(
            f'server.document-root = "{self.folder}"\nserver.port = {free_port()}\nserver.bind = "127.0.0.1"\n'
            f'server.upload-dirs = ( "{self.folder}" )\n'
            # as in Debian's /etc/lighttpd/lighttpd.conf
            'server.http-parseopts = ( "header-strict" => "enable", "url-normalize" => "enable",\n'
            '"url-path-2f-decode" => "enable", "url-path-dotseg-remove" => "enable" )\n'
            f'include "{self.folder / "site.conf"}"\n')
        (self.folder / "site.conf").write_text(self.text())

    def argv(self):
        return [program("lighttpd"), "-D", "-f", self.folder / "main.conf"]


class Nothing:
    """No ingress: aditd's own TLS listener."""

    file, binary, program = "", "", None

    def __init__(self, folder, server, edit=None):
        self.port = server.tls_port

    def stop(self):
        pass


KINDS = {
    "none": Nothing, "nginx": Nginx, "haproxy-h1": HAProxyH1, "haproxy-h2": HAProxyH2,
    "haproxy-passthrough": HAProxyPassthrough, "haproxy-alpn": HAProxyAlpn, "apache": Apache,
    "nghttpx-h1": NghttpxH1, "nghttpx-h2": NghttpxH2, "caddy": Caddy, "lighttpd": Lighttpd,
}


def deny(text):
    """HAProxy refuses all that would be a WebSocket, over HTTP/1.1 and HTTP/2."""
    rules = "\thttp-request deny if { req.hdr(upgrade) -m found }\n\thttp-request deny if { method CONNECT }"
    return text.replace("option forwardfor", "option forwardfor\n" + rules)


def without(*parts):
    """The file as it would be if somebody had forgotten these."""
    def edit(text):
        for part in parts:
            assert part in text, part
            text = text.replace(part, "")
        return text
    return edit


# Edits after which no WebSocket passes, but plain requests do.
NO_WEBSOCKETS = {
    "nginx": without("proxy_set_header Upgrade $http_upgrade;", "proxy_set_header Connection $adit_connection;"),
    "apache": without("H2WebSockets on", "upgrade=websocket "),
    "haproxy-h1": deny,
}


def missing(kind):
    """The program that is not installed, or None."""
    binary = KINDS[kind].binary
    return binary if binary and not program(binary) else None
