"""Client certificates: nginx as ingress lets nobody through without one."""
import json
import shutil
import subprocess

from harness import ADIT, DOMAIN, TOKENS, Authority, Program, environment
from nginx_ingress import UPGRADE, Ingress


def guarded(own, server, authority):
    """nginx that wants certificates of that authority."""
    return Ingress(own, server, UPGRADE, f"ssl_client_certificate {authority.ca}; ssl_verify_client on;")


def issue(own, authority, name):
    certificate, key = own.folder / f"{name}.pem", own.folder / f"{name}.key"
    authority.issue(certificate, key, (f"{name}.test",), "clientAuth")
    return certificate, key


def test_certificate(own, tmp_path):
    """With the right certificate the tunnel stands; without one it does not, and the doctor says what is missing."""
    server, origin, people = own.server(), own.origin(), Authority(tmp_path / "people", "people")
    ingress = guarded(own, server, people)
    certificate, key = issue(own, people, "laptop")
    adit = own.http(server, origin.port, "--name", "shop", "--client-certificate", certificate, "--client-key", key,
                    common=ingress.flags())
    assert adit.wait_event("published")["carrier"] == "ws-h1"
    bare = own.http(server, origin.port, "--name", "alice-x", common=ingress.flags(), folder="bare")
    assert "400" in bare.wait_event("down")["detail"]
    doctor = subprocess.run([ADIT, "doctor", "--json", *map(str, ingress.flags())], capture_output=True, text=True,
                            timeout=60, env=environment(own.folder, ADIT_TOKEN=TOKENS["alice"]))
    assert doctor.returncode == 1 and "client_certificate" in doctor.stdout


def test_reload(own, tmp_path):
    """SIGHUP takes a new certificate from the same files; a broken one changes nothing."""
    server, origin, people = own.server(), own.origin(), Authority(tmp_path / "people", "people")
    ingress = guarded(own, server, people)
    strangers = Authority(tmp_path / "strangers", "strangers")
    certificate, key = issue(own, strangers, "laptop")
    place = own.folder / "adit"
    place.mkdir()
    (place / "adit.yaml").write_text(json.dumps({
        "server": f"https://127.0.0.1:{ingress.port}", "server_name": DOMAIN, "ca": str(server.authority.ca),
        "client_certificate": str(certificate), "client_key": str(key), "log_format": "json",
        "tunnels": [{"name": "shop", "origin": str(origin.port)}]}))
    adit = own.keep(Program([ADIT, "start", "-c", place / "adit.yaml"], place, "adit",
                            environment(place, ADIT_TOKEN=TOKENS["alice"])))
    adit.wait_event("down")
    issue(own, people, "laptop")
    adit.hang_up("published")
    shutil.copy(certificate, key)
    assert "key" in adit.hang_up("reload.failed")["error"]
    assert server.fetch().status == 200


def test_key_of_another(own, tmp_path):
    """A key that does not belong to the certificate ends adit at its start."""
    people = Authority(tmp_path / "people", "people")
    certificate, key = issue(own, people, "one")[0], issue(own, people, "two")[1]
    done = subprocess.run([ADIT, "http", "1", "--server", "https://t.test", "--client-certificate", certificate,
                           "--client-key", key], capture_output=True, text=True, timeout=20,
                          env=environment(own.folder, ADIT_TOKEN="x"))
    assert done.returncode == 2 and "key" in done.stderr and str(key) in done.stderr
