#part-handler
# SPDX-License-Identifier: LGPL-2.0-or-later
"""Registers this host with a Commissaire server; needs Python 3.6 and its standard library.

cloud-init imports this and hands it the part below: too early, since the host has neither its final
SSH keys nor an sshd then, and waiting for the server would hold the boot up. So all that happens then is
that this file becomes a service. It runs when cloud-init is through, at each boot until it is registered.
"""
import base64
import contextlib
import glob
import grp
import http.client
import json
import os
import pwd
import random
import re
import shutil
import ssl
import subprocess
import sys
import time
from urllib.parse import urlsplit

HOME = "/var/lib/commissaire-register"
PROGRAM = HOME + "/register.py"
PARAMETERS = HOME + "/host.json"
DONE = "/var/lib/cloud/instance/commissaire-registered"
NAME = "commissaire-register"
UNIT = "/etc/systemd/system/%s.service" % NAME
WANT = "/etc/systemd/system/cloud-init.target.wants/%s.service" % NAME
SERVICE = """[Unit]
Description=Registers this host with Commissaire
Wants=network-online.target
After=network-online.target cloud-final.service
ConditionPathExists=%s

[Service]
ExecStart=%s -I %s
StandardOutput=journal+console

[Install]
WantedBy=cloud-init.target
"""
PATIENCE = 60  # seconds for an answer
PAUSE = 15  # seconds: at most, about, between two attempts


class Refused(Exception):
    """What trying again would not mend."""


# ---- inside cloud-init


def list_types():
    return ["text/x-commissaire-host"]


def handle_part(_data, ctype, _filename, payload, *_more):
    if ctype not in list_types():  # it also says when it begins and ends
        return
    if isinstance(payload, bytes):
        payload = payload.decode()
    endpoint = parse(payload)["endpoint"]
    if os.path.exists(DONE):  # `cloud-init schema --system` hands everything out again
        return
    os.makedirs(HOME, 0o700, exist_ok=True)
    write(PARAMETERS, payload, 0o600)
    with open(__file__) as file:
        write(PROGRAM, file.read(), 0o600)
    write(UNIT, SERVICE % (PARAMETERS, sys.executable, PROGRAM), 0o644)
    os.makedirs(os.path.dirname(WANT), exist_ok=True)
    if not os.path.islink(WANT):
        os.symlink(UNIT, WANT)
    restore_contexts(HOME, UNIT)
    run("systemctl", "daemon-reload")
    run("systemctl", "start", "--no-block", NAME)
    print("commissaire: this host registers with %s once cloud-init is through; see: journalctl -u %s"
          % (endpoint, NAME), flush=True)


def parse(text):
    try:
        config = json.loads(text)
    except ValueError as error:
        raise Refused("the part text/x-commissaire-host is no JSON: %s" % error) from None
    if not isinstance(config, dict) or not all(isinstance(value, str) for value in config.values()):
        raise Refused("the part text/x-commissaire-host is no JSON object of strings")
    try:
        url = urlsplit(config.get("endpoint", ""))
        good = url.scheme in ("http", "https") and url.hostname and url.port != 0 and not url.username
    except ValueError:
        good = False
    if not good:
        raise Refused("the part text/x-commissaire-host has no `endpoint` like https://10.0.0.1:8000")
    return config


# ---- the service


def main():
    try:
        with open(PARAMETERS) as file:
            config = parse(file.read())
        connect = connector(config)
        register(config["endpoint"], connect, headers(config), prepare(config))
    except (Refused, OSError) as error:
        log("NOT REGISTERED: %s. When that is mended: systemctl restart %s" % (error, NAME))
        return 1
    write(DONE, config["endpoint"] + "\n", 0o644)
    shutil.rmtree(HOME)  # and with it what is secret
    for path in (WANT, UNIT):
        with contextlib.suppress(FileNotFoundError):
            os.remove(path)
    return 0


def log(text):
    """To the journal and the console, and where cloud-init's own messages are."""
    print("commissaire: " + text, flush=True)
    with contextlib.suppress(OSError), open("/var/log/cloud-init-output.log", "a") as file:
        file.write("commissaire: %s\n" % text)


def connector(config):
    """What makes a connection to the server, which is known by its authority where one is given."""
    url = urlsplit(config["endpoint"])
    if url.scheme == "http":
        return lambda: http.client.HTTPConnection(url.hostname, url.port, timeout=PATIENCE)
    trust = ssl.create_default_context(cadata=config.get("certificate_authority"))
    return lambda: http.client.HTTPSConnection(url.hostname, url.port, timeout=PATIENCE, context=trust)


def headers(config):
    found = {"Content-Type": "application/json"}
    if "token" in config:
        if not re.match(r"[!-~]+\Z", config["token"]):  # or an exception would show it
            raise Refused("`token` is none")
        found["Authorization"] = "Bearer " + config["token"]
    elif "username" in config:
        login = "%s:%s" % (config["username"], config.get("password", ""))
        found["Authorization"] = "Basic " + base64.b64encode(login.encode()).decode()
    return found


def register(endpoint, connect, headers, body):
    """Asks until there is an answer. The server takes the host's address from the connection."""
    delay = 1
    path = urlsplit(endpoint).path.rstrip("/") + "/api/v0/host"
    while True:
        wait = delay * random.uniform(0.75, 1.25)  # hosts that boot together must not ask together
        delay = min(delay * 2, PAUSE)
        try:
            body["ssh_host_key"] = host_keys()
            body["addresses"] = addresses()
            connection = connect()
            with contextlib.closing(connection):
                connection.request("PUT", path, json.dumps(body), headers)
                answer = connection.getresponse()
                text = answer.read(65536)
        except (OSError, http.client.HTTPException) as error:
            log("%s cannot be reached: %s; trying again in %.0f s" % (endpoint, error or repr(error), wait))
        else:
            said = explanation(answer, text)
            if answer.status in (200, 201):
                log("registered with %s as %s" % (endpoint, body["remote_user"]))
                return
            if answer.status < 500 and answer.status != 429:
                raise Refused("%s refuses: %s" % (endpoint, said))
            after = answer.getheader("Retry-After") or ""
            wait = max(wait, min(int(after), 600)) if after.isdigit() else wait
            log("%s answers: %s; trying again in %.0f s" % (endpoint, said, wait))
        time.sleep(wait)


def explanation(answer, text):
    try:
        detail = json.loads(text.decode())["detail"]
        said = "%s (%d %s)" % (detail, answer.status, answer.reason)
    except (ValueError, KeyError, TypeError):
        said = "%d %s" % (answer.status, answer.reason)
    return "".join(c if c.isprintable() else "?" for c in said)[:1000]


def host_keys():
    """What sshd shows; DSA is dead, but some versions of cloud-init still make such a key."""
    keys = []
    for path in sorted(glob.glob("/etc/ssh/ssh_host_*_key.pub")):
        with open(path) as file:
            keys += [line.strip() for line in file if line.strip() and not line.startswith("ssh-dss ")]
    if not keys:
        raise OSError("sshd has no host key yet")
    return "\n".join(keys)


def addresses():
    try:
        lines = run("ip", "-o", "addr", "show", "scope", "global").splitlines()
    except (Refused, OSError):
        return []  # the server has one by the connection
    return sorted({line.split()[3].split("/")[0] for line in lines})


# ---- what the server logs in with


def prepare(config):
    """Lets the server in; returns the body of the registration."""
    name = config.get("remote_user", "root")
    if not re.match(r"[A-Za-z_][A-Za-z0-9_.-]{0,31}\Z", name):
        raise Refused("remote_user %r is no name of a user" % name)
    user = account(name)
    body = {"remote_user": name}
    if "cluster" in config:
        body["cluster"] = config["cluster"]
    if "token" in config:
        line = config.get("public_key", "").strip()
        if not line or not line.isprintable():
            raise Refused("`public_key`, the server's, has to stand beside `token`, as one line")
    else:
        path = config.get("ssh_key_path", "/root/.ssh/id_rsa")
        line, body["ssh_priv_key"] = key_pair(path, owner(path, user))
    path = config.get("authorized_keys_path") or os.path.join(user.pw_dir, ".ssh", "authorized_keys")
    authorize(line, path, owner(path, user))
    return body


def account(name):
    try:
        user = pwd.getpwnam(name)
    except KeyError:
        # No password fits; a locked account would be closed to keys, too, where sshd goes without PAM.
        options = ["--create-home", "--password", "*"]
        with contextlib.suppress(KeyError):
            options += ["--gid", grp.getgrnam(name).gr_name]
        run("useradd", *options, name)
        user = pwd.getpwnam(name)
        log("added the user %s" % name)
    if user.pw_uid != 0:
        allow_sudo(name)
    return user


def allow_sudo(name):
    folder = "/etc/sudoers.d"
    if not os.path.isdir(folder):
        raise Refused("%s needs sudo, which is not installed: `packages: [sudo]` in the cloud-config" % name)
    path = "%s/commissaire-%s" % (folder, name.replace(".", "_"))  # sudo passes over names with a dot
    write(path + ".new", '"%s" ALL=(ALL:ALL) NOPASSWD: ALL\n' % name, 0o440)
    if shutil.which("visudo"):
        run("visudo", "-cqf", path + ".new")
    os.replace(path + ".new", path)
    restore_contexts(path)


def owner(path, user):
    """Who writes at a path: in a user's home that user, who can then point no link at what is root's."""
    return user if path.startswith(user.pw_dir + "/") else pwd.getpwuid(0)


def key_pair(path, user):
    """The public key and the private one, which is made if there is none."""
    if not os.path.exists(path):
        with acting_as(user):
            os.makedirs(os.path.dirname(path), 0o700, exist_ok=True)
        run("ssh-keygen", "-q", "-t", "rsa", "-b", "3072", "-N", "", "-f", path, user=user)
        restore_contexts(os.path.dirname(path))
    with acting_as(user), open(path, "rb") as file:
        private = base64.b64encode(file.read()).decode()
    return run("ssh-keygen", "-y", "-P", "", "-f", path, user=user).strip(), private


def authorize(line, path, user):
    folder = os.path.dirname(path)
    is_home = path.startswith(user.pw_dir + "/")
    with acting_as(user):
        # Elsewhere sshd reads it as whoever logs in.
        os.makedirs(folder, 0o700 if is_home else 0o755, exist_ok=True)
        with open(path, "a+") as file:
            os.fchmod(file.fileno(), 0o600 if is_home else 0o644)
            file.seek(0)
            present = file.read()
            if line not in present.splitlines():
                file.write("%s%s\n" % ("\n" if present and present[-1] != "\n" else "", line))
    restore_contexts(folder)


@contextlib.contextmanager
def acting_as(user):
    groups = os.getgroups()
    os.setgroups([])
    os.setegid(user.pw_gid)
    os.seteuid(user.pw_uid)
    try:
        yield
    finally:
        os.seteuid(0)
        os.setegid(0)
        os.setgroups(groups)


# ---- helpers


def write(path, text, mode):
    with contextlib.suppress(FileNotFoundError):
        os.remove(path)
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "w") as file:
        os.fchmod(file.fileno(), mode)
        file.write(text)


def run(*command, user=None):
    def become():
        os.setgroups([])
        os.setgid(user.pw_gid)
        os.setuid(user.pw_uid)

    done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                          universal_newlines=True, preexec_fn=become if user else None)
    if done.returncode != 0:
        raise Refused("%s failed: %s" % (command[0], (done.stderr or done.stdout).strip()))
    return done.stdout


def restore_contexts(*paths):
    if shutil.which("restorecon"):
        run("restorecon", "-RF", *paths)


if __name__ == "__main__":
    sys.exit(main())
