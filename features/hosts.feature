Feature: Hosts
  A host is registered with its address. The server logs in over SSH, reads what the host is, sets it up, and checks it from
  then on. A host that cannot be used is failed, with a reason and a remedy.

  Scenario: A host is registered, and usable once it was investigated
    Given a host 10.0.0.1
    When I request PUT /host/10.0.0.1
    Then the status is 201
    And the answer is {"address": "10.0.0.1", "status": "investigating", "os": "", "cpus": 0, "memory": 0, "space": 0, "last_check": "", "source": ""}
    And the host 10.0.0.1 becomes disassociated
    When I request GET /host/10.0.0.1
    Then the status is 200
    And the answer is {"address": "10.0.0.1", "status": "disassociated", "os": "debian", "cpus": 2, "memory": 2048, "space": 20000000000, "source": ""}
    And the field last_check has "2026-12-01T12:0" in it

  Scenario Outline: The distribution of a host is found out: <os>
    Given a host 10.0.0.1 with <os>
    And I request PUT /host/10.0.0.1
    And the host 10.0.0.1 becomes disassociated
    When I request GET /host/10.0.0.1
    Then the field os is <os>

    Examples:
      | os     |
      | fedora |
      | ubuntu |

  @real
  Scenario: A host may be named in the body
    Given a host 10.0.0.1
    When I request PUT /host with {"address": "10.0.0.1"}
    Then the status is 201
    And the field address is "10.0.0.1"
    When I request GET /host/10.0.0.1
    Then the status is 200

  Scenario: Without an address the host is the one that sends the request
    Given a host 192.0.2.1
    When I request PUT /host
    Then the status is 201
    And the field address is "192.0.2.1"

  @real
  Scenario Outline: One host has one record, however its address is written: <address>
    When I request PUT /host/<address>
    Then the status is 201
    And the field address is "<record>"
    When I request PUT /host/<record>
    And I request GET /hosts
    Then the answer is [{"address": "<record>"}]

    Examples:
      | address          | record           |
      | Web1.Example.COM | web1.example.com |
      | ::ffff:10.0.0.8  | 10.0.0.8         |
      | fe80:0:0::1      | fe80::1          |

  @real
  Scenario: Hosts are listed by their addresses
    When I request GET /hosts
    Then the status is 200
    And the answer is []
    Given the registered hosts 10.0.0.2 to 10.0.0.3
    And the registered host 10.0.0.1
    When I request GET /hosts
    Then the answer is [{"address": "10.0.0.1", "status": "disassociated"}, {"address": "10.0.0.2"}, {"address": "10.0.0.3"}]

  @real
  Scenario: A host that is registered into a cluster is a member at once
    Given a host 10.0.0.1
    And the cluster web
    When I request PUT /host/10.0.0.1 with {"cluster": "web"}
    Then the status is 201
    When I request GET /cluster/web/hosts
    Then the answer is ["10.0.0.1"]

  @real
  Scenario: A host is not registered into a cluster that does not exist
    When I request PUT /host/10.0.0.1 with {"cluster": "web"}
    Then the status is 409
    And the field detail is "there is no cluster \"web\": create it first"
    When I request GET /hosts
    Then the answer is []

  @real
  Scenario: Status and facts in the request are ignored
    Given a host 10.0.0.1
    When I request PUT /host/10.0.0.1 with {"status": "active", "os": "fedora", "cpus": 64, "last_check": "2020-01-01T00:00:00"}
    Then the status is 201
    And the answer is {"status": "investigating", "os": "", "cpus": 0, "last_check": ""}

  @real
  Scenario Outline: A host with <mistake> is not registered
    Given the cluster web
    When I request PUT /host/10.0.0.1 with {"cluster": "web", <body>}
    Then the status is 400
    And the field detail has "<words>" in it
    When I request GET /host/10.0.0.1
    Then the status is 404
    When I request GET /cluster/web/hosts
    Then the answer is []

    Examples:
      | mistake                       | body                  | words                                            |
      | a key that is not base64      | "ssh_priv_key": "%%%" | ssh_priv_key is the private key's file in base64 |
      | a user that is an option      | "remote_user": "-x"   | a remote user is a letter                        |
      | the port 0                    | "ssh_port": 0         | ssh_port is 1 to 65535                           |
      | a host key that is none       | "ssh_host_key": "abc" | line 1 is not a public key                       |
      | an unknown kind of set-up     | "bootstrap": "some"   | bootstrap: unknown variant `some`                |
      | another address than the path | "address": "10.0.0.2" | the path names                                   |
      | a misspelt field              | "remote_usr": "ops"   | unknown field                                    |

  @real
  Scenario: An address in the body has to be one
    When I request PUT /host with {"address": "a b"}
    Then the status is 400
    And the field detail is "`address` is an IP address or a host name"

  @real
  Scenario: Registering a host again changes nothing
    Given the cluster web with the host 10.0.0.1
    When I request PUT /host/10.0.0.1 with {"cluster": "web"}
    Then the status is 201
    And the field status is disassociated

  @real
  Scenario Outline: A host that exists is not registered with <what>
    Given the cluster db
    And the cluster web with the host 10.0.0.1
    When I request PUT /host/10.0.0.1 with <body>
    Then the status is 409
    And the field detail is "<detail>"
    When I request GET /host/10.0.0.1/creds
    Then the field ssh_priv_key is ""
    When I request GET /cluster/web/hosts
    Then the answer is ["10.0.0.1"]

    Examples:
      | what                     | body                     | detail                                    |
      | another key              | {"ssh_priv_key": "a2V5"} | the host 10.0.0.1 exists with another key |
      | a key that is not base64 | {"ssh_priv_key": "%%%"}  | the host 10.0.0.1 exists with another key |
      | another cluster          | {"cluster": "db"}        | the host 10.0.0.1 exists, in web          |

  Scenario: Registering a failed host again investigates it again
    Given a host 10.0.0.1
    And the host 10.0.0.1 names no distribution
    And I request PUT /host/10.0.0.1
    And the host 10.0.0.1 becomes failed
    When the host 10.0.0.1 is repaired
    And I request PUT /host/10.0.0.1
    Then the status is 201
    And the field status is investigating
    And the host 10.0.0.1 becomes disassociated

  @real
  Scenario Outline: A host that does not exist cannot be read: <path>
    When I request GET <path>
    Then the status is 404
    And the field detail is "there is no host 10.9.9.9"

    Examples:
      | path                  |
      | /host/10.9.9.9        |
      | /host/10.9.9.9/status |
      | /host/10.9.9.9/creds  |

  @real
  Scenario Outline: A host that does not exist cannot be changed: <method> <path>
    When I request <method> <path> with <body>
    Then the status is 404
    And the field detail is "there is no host 10.9.9.9"

    Examples:
      | method | path                       | body                        |
      | DELETE | /host/10.9.9.9             | {}                          |
      | POST   | /host/10.9.9.9/investigate | {}                          |
      | PUT    | /host/10.9.9.9/creds       | {"remote_user": "ops"}      |
      | PUT    | /host/10.9.9.9/hostkey     | {"fingerprint": "SHA256:x"} |

  @real
  Scenario: A deleted host is in no cluster any more, and may be registered again
    Given the cluster web with the hosts 10.0.0.1 to 10.0.0.2
    When I request DELETE /host/10.0.0.1
    Then the status is 200
    And the answer is []
    When I request GET /host/10.0.0.1
    Then the status is 404
    When I request GET /cluster/web/hosts
    Then the answer is ["10.0.0.2"]
    When I request PUT /host/10.0.0.1 with {"ssh_priv_key": "a2V5"}
    Then the status is 201

  @real
  Scenario: A host is not deleted during an operation on its cluster
    Given the cluster web with the hosts 10.0.0.1 to 10.0.0.2
    And I request PUT /cluster/web/restart
    When I request DELETE /host/10.0.0.2
    Then the status is 409
    And the field detail is "an operation is in process on the cluster web: wait until it has ended"

  @real
  Scenario: A request that is repeated with its Idempotency-Key has the first answer, and does nothing
    Given a host 10.0.0.1
    And the header Idempotency-Key is first-boot
    And I request PUT /host/10.0.0.1
    And the host 10.0.0.1 becomes disassociated
    And I request DELETE /host/10.0.0.1
    And the header Idempotency-Key is first-boot
    When I request PUT /host/10.0.0.1
    Then the status is 201
    And the answer is {"address": "10.0.0.1", "status": "investigating"}
    When I request GET /host/10.0.0.1
    Then the status is 404

  @real
  Scenario: A restart that is requested again with its Idempotency-Key is not begun again
    Given the cluster web with the host 10.0.0.1
    And the header Idempotency-Key is nightly
    And I request PUT /cluster/web/restart
    And the restart of web becomes finished
    And the header Idempotency-Key is nightly
    When I request PUT /cluster/web/restart
    Then the status is 201
    And the field status is in_process
    When I request GET /cluster/web/restart
    Then the field status is finished
    And the host 10.0.0.1 was rebooted once

  @real
  Scenario: An Idempotency-Key is for one request
    Given the header Idempotency-Key is first-boot
    And I request PUT /host/10.0.0.1
    And the header Idempotency-Key is first-boot
    When I request PUT /host/10.0.0.2
    Then the status is 422
    And the field detail has "Idempotency-Key" in it
    When I request GET /host/10.0.0.2
    Then the status is 404

  Scenario: The server's own public key is shown
    When I request GET /publickey
    Then the status is 200
    And the answer is {"public_key": "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsabgH5C9okWi0dh2l9GKJl commissaire"}

  @real
  Scenario: The server's own private key is not among the credentials of a host
    Given the registered host 10.0.0.1
    When I request GET /host/10.0.0.1/creds
    Then the status is 200
    And the answer is {"address": "10.0.0.1", "ssh_priv_key": "", "remote_user": "root", "ssh_port": null}

  @real
  Scenario: The credentials that a host was registered with are shown
    Given a host 10.0.0.1
    And I request PUT /host/10.0.0.1 with {"ssh_priv_key": "a2V5", "remote_user": "ops", "ssh_port": 2222}
    When I request GET /host/10.0.0.1/creds
    Then the answer is {"address": "10.0.0.1", "ssh_priv_key": "a2V5", "remote_user": "ops", "ssh_port": 2222, "ssh_host_key": null}

  @real
  Scenario: The host key that the server sees first is the one that it accepts from then on
    Given the registered host 10.0.0.1
    When I request GET /host/10.0.0.1/creds
    Then the field ssh_host_key has "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5" in it

  @real
  Scenario: A host with another host key than it was registered with is not logged in to
    Given a host 10.0.0.1
    And I request PUT /host/10.0.0.1 with {"ssh_host_key": "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGZvbGxvdy10aGUtd2hpdGUtcmFiYml0LXRvLW5lYg=="}
    And the host 10.0.0.1 becomes failed
    When I request GET /host/10.0.0.1/status
    Then the field host.reason is host-key-changed

  Scenario: New credentials are kept once the server has logged in with them
    Given the registered host 10.0.0.1
    When I request PUT /host/10.0.0.1/creds with {"ssh_priv_key": "bmV3", "remote_user": "ops", "ssh_port": 2222}
    Then the status is 200
    And the answer is {"address": "10.0.0.1", "status": "disassociated"}
    When I request GET /host/10.0.0.1/creds
    Then the answer is {"ssh_priv_key": "bmV3", "remote_user": "ops", "ssh_port": 2222}
    When I request PUT /host/10.0.0.1/creds with {"ssh_priv_key": ""}
    And I request GET /host/10.0.0.1/creds
    Then the answer is {"ssh_priv_key": "", "remote_user": "ops", "ssh_port": 2222}

  Scenario Outline: New credentials are not kept if the host <what>
    Given the registered host 10.0.0.1
    And the host 10.0.0.1 <what>
    When I request PUT /host/10.0.0.1/creds with {"remote_user": "ops"}
    Then the status is 409
    And the field detail has "<words>" in it
    When I request GET /host/10.0.0.1/creds
    Then the field remote_user is root

    Examples:
      | what                              | words                                                 |
      | refuses log-ins                   | 10.0.0.1 refuses the log-in of ops                    |
      | does not let its user become root | ops on 10.0.0.1 cannot become root without a password |
      | is cut off                        | 10.0.0.1 port 22 cannot be reached                    |

  @real
  Scenario Outline: New credentials with <mistake> are rejected
    Given the registered host 10.0.0.1
    When I request PUT /host/10.0.0.1/creds with <body>
    Then the status is 400
    And the field detail has "<words>" in it

    Examples:
      | mistake                  | body                  | words                     |
      | nothing that changes     | {}                    | say what is to change     |
      | a user that is an option | {"remote_user": "-x"} | a remote user is a letter |

  Scenario: A failed host is investigated again with its new credentials
    Given a host 10.0.0.1
    And the host 10.0.0.1 does not let its user become root
    And I request PUT /host/10.0.0.1 with {"remote_user": "ops"}
    And the host 10.0.0.1 becomes failed
    When the host 10.0.0.1 is repaired
    And I request PUT /host/10.0.0.1/creds with {"remote_user": "root"}
    Then the status is 200
    And the field status is investigating
    And the host 10.0.0.1 becomes disassociated

  @real
  Scenario: The status of a healthy host has neither a reason nor a remedy
    Given the registered host 10.0.0.1
    When I request GET /host/10.0.0.1/status
    Then the status is 200
    And the answer is {"type": "host_only", "host": {"status": "disassociated", "reason": null, "remedy": null, "since": null}, "container_manager": {"node": null}}

  Scenario Outline: A host that <what> fails with the reason <reason>, until it is repaired and investigated again
    Given a host 10.0.0.1
    And the host 10.0.0.1 <what>
    And I request PUT /host/10.0.0.1 with {"remote_user": "ops"}
    And the host 10.0.0.1 becomes failed
    And 1 hour passes
    When I request GET /host/10.0.0.1/status
    Then the answer is {"host": {"status": "failed", "reason": "<reason>", "remedy": "<remedy>"}}
    When the host 10.0.0.1 is repaired
    And I request POST /host/10.0.0.1/investigate
    Then the status is 202
    And the answer is {"address": "10.0.0.1", "status": "investigating"}
    And the host 10.0.0.1 becomes disassociated

    Examples:
      | what                              | reason     | remedy                                                    |
      | does not let its user become root | no-sudo    | install sudo on it, and add a NOPASSWD rule for that user |
      | names no distribution             | unknown-os | see the list of supported distributions in the manual     |

  Scenario Outline: A host is set up for the network of its cluster: <os>, with bootstrap <bootstrap>
    Given I request PUT /network/net with {"type": "flannel_server", "options": {"address": "192.0.2.9:8472"}}
    And I request PUT /cluster/web with {"network": "net"}
    And a host 10.0.0.1 with <os>
    When I request PUT /host/10.0.0.1 with {"cluster": "web", "bootstrap": "<bootstrap>"}
    Then the host 10.0.0.1 becomes disassociated
    When I request GET /host/10.0.0.1/status
    Then the field host.detail has "<words>" in it

    Examples:
      | os     | bootstrap | words                                                   |
      | fedora | auto      | set up for the network net                              |
      | debian | auto      | nothing was installed: debian 13 has no flannel package |
      | debian | full      | set up for the network net                              |
      | fedora | none      | nothing was installed, as asked                         |

  Scenario: A network of the type none needs nothing on its hosts
    Given a host 10.0.0.1 with fedora
    And I request PUT /host/10.0.0.1 with {"bootstrap": "full"}
    And the host 10.0.0.1 becomes disassociated
    When I request GET /host/10.0.0.1/status
    Then the field host.detail is "the network default needs nothing installed"

  Scenario: A host without Python cannot be set up
    Given I request PUT /network/net with {"type": "flannel_server", "options": {"address": "192.0.2.9:8472"}}
    And I request PUT /cluster/web with {"network": "net"}
    And a host 10.0.0.1 with fedora
    And the host 10.0.0.1 has no Python
    And I request PUT /host/10.0.0.1 with {"cluster": "web"}
    And the host 10.0.0.1 becomes failed
    When I request GET /host/10.0.0.1/status
    Then the field host.reason is no-python
    And the field host.detail has "install python3 on it" in it

  Scenario: A host is not set up for flannel with etcd while the server knows no etcd
    Given I request PUT /network/net with {"type": "flannel_etcd"}
    And I request PUT /cluster/web with {"network": "net"}
    And a host 10.0.0.1 with fedora
    And I request PUT /host/10.0.0.1 with {"cluster": "web"}
    And the host 10.0.0.1 becomes failed
    When I request GET /host/10.0.0.1/status
    Then the field host.reason is bootstrap-impossible
    And the field host.detail has "which needs etcd endpoints, and none are configured" in it

  Scenario: A host that does not answer fails, and recovers by itself
    Given the registered host 10.0.0.1
    When the host 10.0.0.1 loses its power
    Then the host 10.0.0.1 becomes failed
    When I request GET /host/10.0.0.1/status
    Then the answer is {"host": {"status": "failed", "reason": "unreachable", "remedy": "check its power, its network and its sshd"}}
    And the field host.detail has "10.0.0.1 port 22 cannot be reached" in it
    And the field host.since has "2026-12-01T12:0" in it
    When the host 10.0.0.1 comes back
    Then the host 10.0.0.1 becomes disassociated

  @real
  Scenario: A host that has recovered has the status from before
    Given I request PUT /containermanager/t with {"type": "trivial"}
    And I request PUT /cluster/web with {"container_manager": "t"}
    And a host 10.0.0.1
    And I request PUT /host/10.0.0.1 with {"cluster": "web"}
    And the host 10.0.0.1 becomes active
    When the host 10.0.0.1 is cut off
    Then the host 10.0.0.1 becomes failed
    When the host 10.0.0.1 answers again
    Then the host 10.0.0.1 becomes active

  @real
  Scenario: A host that was never reached is set up once it answers
    Given a host 10.0.0.1 that is down
    And I request PUT /host/10.0.0.1
    And the host 10.0.0.1 becomes failed
    When the host 10.0.0.1 comes back
    Then the host 10.0.0.1 becomes disassociated
    When I request GET /host/10.0.0.1
    Then the field os is debian

  Scenario: A host that refuses log-ins fails, and recovers once it accepts them
    Given the registered host 10.0.0.1
    When the host 10.0.0.1 now refuses log-ins
    Then the host 10.0.0.1 becomes failed
    When I request GET /host/10.0.0.1/status
    Then the answer is {"host": {"reason": "auth-refused"}}
    And the field host.detail has "10.0.0.1 refuses the log-in of root" in it
    When the host 10.0.0.1 accepts log-ins again
    Then the host 10.0.0.1 becomes disassociated

  Scenario: A host that rejects connections for the moment keeps its status
    Given the registered host 10.0.0.1
    When the host 10.0.0.1 rejects connections
    And 1 hour passes
    And I request GET /host/10.0.0.1
    Then the field status is disassociated

  Scenario: A host is checked again and again
    Given the registered host 10.0.0.1
    When 1 hour passes
    And I request GET /host/10.0.0.1
    Then the field last_check has "2026-12-01T12:5" in it

  Scenario: A host whose key has changed is left alone until an operator accepts the new key
    Given the registered host 10.0.0.1
    And the host 10.0.0.1 shows another key after its next boot
    When the host 10.0.0.1 is rebooted by others
    Then the host 10.0.0.1 becomes failed
    When I request GET /host/10.0.0.1/status
    Then the field host.reason is host-key-changed
    And the field host.detail has "SHA256:kmYcvdi2GkPeWxB6XLjrZB8JHsy2Hm8luHMFp9GMvqk is pinned" in it
    And the field host.detail has "commctl host accept-key 10.0.0.1 SHA256:gHw0GVD+BYiOO4yrKroHmmb4ZXTGgsybCUaVk+/TUaI" in it
    When I request PUT /host/10.0.0.1/hostkey with {"fingerprint": "SHA256:gHw0GVD+BYiOO4yrKroHmmb4ZXTGgsybCUaVk+/TUaI"}
    Then the status is 202
    And the answer is {"address": "10.0.0.1", "status": "investigating"}
    And the host 10.0.0.1 becomes disassociated

  Scenario: A key that the host has not shown is not accepted
    Given the registered host 10.0.0.1
    And the host 10.0.0.1 shows another key after its next boot
    And the host 10.0.0.1 is rebooted by others
    And the host 10.0.0.1 becomes failed
    When I request PUT /host/10.0.0.1/hostkey with {"fingerprint": "SHA256:wrong"}
    Then the status is 409
    And the field detail is "the host 10.0.0.1 has not been seen with a changed key of that fingerprint: see its status"
    When I request GET /host/10.0.0.1
    Then the field status is failed
