"""nginx_ingress: nginx between adit and aditd, ending TLS."""
import shutil

import harness
from wire import eventually

UPGRADE = ('proxy_http_version 1.1; proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection "upgrade"; '
           "proxy_set_header Host $http_host; proxy_read_timeout 60s;")

CONFIG = """daemon off; master_process off; pid ingress.pid; error_log error.log;
events {{ worker_connections 256; }}
http {{
	access_log off;
	client_body_temp_path tmp; proxy_temp_path tmp; fastcgi_temp_path tmp; uwsgi_temp_path tmp; scgi_temp_path tmp;
	server {{
		listen 127.0.0.1:{port} ssl {http2};
		ssl_certificate server.pem; ssl_certificate_key server.key; ssl_protocols TLSv1.2 TLSv1.3;
		{server_lines}
		location / {{ proxy_pass http://127.0.0.1:{backend}; {location_lines} }}
	}}
}}
"""


class Ingress:
    """nginx before `server`'s plain listener; `location_lines` such as UPGRADE, `server_lines` such as ssl_verify_client."""

    def __init__(self, own, server, location_lines="", server_lines="", http2=True):
        self.server, folder = server, own.folder / "ingress"
        (folder / "tmp").mkdir(parents=True)
        server.authority.issue(folder / "server.pem", folder / "server.key")
        self.port = harness.free_port()
        (folder / "nginx.conf").write_text(CONFIG.format(
            port=self.port, backend=server.plain_port, http2="http2" if http2 else "", server_lines=server_lines,
            location_lines=location_lines))
        self.program = own.run([shutil.which("nginx") or "/usr/sbin/nginx", "-p", folder, "-c", folder / "nginx.conf",
                                "-e", folder / "error.log"], "ingress")
        eventually(lambda: harness.can_connect(self.port), lambda: "nginx answers: " + self.program.text)

    def flags(self):
        return ["--server", f"https://127.0.0.1:{self.port}", "--server-name", harness.DOMAIN, "--ca",
                self.server.authority.ca, "--log-format", "json"]
