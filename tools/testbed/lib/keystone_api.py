"""Requests to the Keystone of tools/testbed/keystone, as its administrator: keystone_api.py URL VERB ARGUMENT…"""

import json
import ssl
import sys
import time
from urllib.error import HTTPError
from urllib.parse import urlencode
from urllib.request import Request, urlopen

DEFAULT = "Default"
PROJECT = "fleet"  # one in each domain
SERVICE = "service"  # a project, and a role

URL = sys.argv[1].rstrip("/").removesuffix("/v3") + "/v3"


def send(method, path, body=None, headers=()):
    """The headers and the JSON of a response."""
    data = None if body is None else json.dumps(body).encode()
    request = Request(URL + path, data, {"Content-Type": "application/json", **dict(headers)}, method=method)
    context = ssl._create_unverified_context() if URL.startswith("https:") else None
    with urlopen(request, context=context, timeout=60) as response:
        return response.headers, json.loads(response.read() or "null")


def log_in(user, password, domain, scope):
    user = {"name": user, "domain": {"name": domain}, "password": password}
    auth = {"identity": {"methods": ["password"], "password": {"user": user}}}
    if scope:
        auth["scope"] = {"project": {"name": scope, "domain": {"name": domain}}}
    headers, _ = send("POST", "/auth/tokens", {"auth": auth})
    return headers["X-Subject-Token"]


class Admin:
    """The administrator, who logs in again when the token has expired."""

    def __init__(self):
        self.token = None

    def send(self, method, path, body=None, headers=()):
        for is_last in (False, True):
            if self.token is None:
                self.token = log_in("admin", password_of("admin"), DEFAULT, "admin")
            try:
                return send(method, path, body, {"X-Auth-Token": self.token, **dict(headers)})[1]
            except HTTPError as error:
                if error.code != 401 or is_last:
                    raise
                self.token = None

    def id(self, kind, name, **where):
        """The identifier of the only object with this name."""
        found = self.send("GET", f"/{kind}s?{urlencode({'name': name, **where})}")[f"{kind}s"]
        if len(found) != 1:
            raise SystemExit(f"there is no {kind} {name}")
        return found[0]["id"]

    def create(self, kind, name, **fields):
        return self.send("POST", f"/{kind}s", {kind: {"name": name, **fields}})[kind]["id"]

    def user(self, name, domain):
        return "/users/" + self.id("user", name, domain_id=self.id("domain", domain))

    def grant(self, user, role, project):
        self.send("PUT", f"/projects/{project}/users/{user}/roles/{role}")


def password_of(user):
    return f"{user}-password"


def seed(admin):
    default = admin.id("domain", DEFAULT)
    corp = admin.create("domain", "corp")
    operator, role_admin = admin.create("role", "operator"), admin.id("role", "admin")
    projects = {
        (domain, name): admin.create("project", name, domain_id=domain)
        for domain, name in [(default, PROJECT), (default, "sandbox"), (default, SERVICE), (corp, PROJECT)]
    }
    for domain in default, corp:
        ann = admin.create("user", "ann", domain_id=domain, password=password_of("ann"))
        admin.grant(ann, operator, projects[domain, PROJECT])
        if domain == default:
            admin.grant(ann, role_admin, projects[default, "sandbox"])
    for name, role in ("commissaire", SERVICE), ("powerless", "member"):
        user = admin.create("user", name, domain_id=default, password=password_of(name))
        admin.grant(user, admin.id("role", role), projects[default, SERVICE])


def user(admin, verb, name, domain=DEFAULT):
    if verb == "add":
        domain = admin.id("domain", domain)
        added = admin.create("user", name, domain_id=domain, password=password_of(name))
        project = admin.id("project", PROJECT, domain_id=domain)
        admin.grant(added, admin.id("role", "operator"), project)
    elif verb in ("enable", "disable"):
        admin.send("PATCH", admin.user(name, domain), {"user": {"enabled": verb == "enable"}})
        await_next_second()
    elif verb == "delete":
        admin.send("DELETE", admin.user(name, domain))
    else:
        raise SystemExit(f"user: unknown: {verb}")


def await_next_second():
    """Tokens say when they were issued in whole seconds: those of the second of a revocation count as revoked too."""
    second = int(time.time())
    while int(time.time()) == second:
        time.sleep(0.01)


def token(_, name, domain=DEFAULT, project=PROJECT):
    print(log_in(name, password_of(name), domain, "" if project == "-" else project))


def revoke(admin, token):
    admin.send("DELETE", "/auth/tokens", headers={"X-Subject-Token": token})


def main():
    verbs = {"seed": seed, "user": user, "token": token, "revoke": revoke}
    try:
        verbs[sys.argv[2]](Admin(), *sys.argv[3:])
    except HTTPError as error:
        raise SystemExit(f"{error.code} to {error.url}: {error.read().decode(errors='replace')}") from None


main()
