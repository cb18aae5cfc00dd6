Feature: Hosts that register themselves
  An enrollment is a token with which hosts register themselves: as many as it has uses, until it expires,
  in its cluster, and from its networks. commctl user-data writes it into a file for cloud-init.

  Scenario: A host registers itself and joins the cluster of the enrollment
    Given the cluster web
    And a host 10.0.0.1
    And I request POST /enrollments with {"cluster": "web"}
    And the status is 201
    And I remember token as token
    When the host 10.0.0.1 registers itself with the token $token
    And the host 10.0.0.1 becomes disassociated
    And I request GET /cluster/web/hosts
    Then the answer is ["10.0.0.1"]

  Scenario: A host without a cluster in its enrollment is in none
    Given a host 10.0.0.1
    And I request POST /enrollments with {}
    And I remember token as token
    When the host 10.0.0.1 registers itself with the token $token
    And the host 10.0.0.1 becomes disassociated
    And I request GET /host/10.0.0.1
    Then the answer is {"address": "10.0.0.1", "status": "disassociated"}

  Scenario: A host is outside its cluster until it has accepted a log-in
    Given the cluster web
    And a host 10.0.0.1
    And the host 10.0.0.1 refuses log-ins
    And I request POST /enrollments with {"cluster": "web"}
    And I remember token as token
    When the host 10.0.0.1 registers itself with the token $token
    And 5 minutes pass
    And I request GET /cluster/web/hosts
    Then the answer is []

  Scenario: A host that does not accept a log-in within 15 minutes is removed
    Given a host 10.0.0.1
    And the host 10.0.0.1 refuses log-ins
    And I request POST /enrollments with {}
    And I remember token as token
    When the host 10.0.0.1 registers itself with the token $token
    And 20 minutes pass
    And I request GET /host/10.0.0.1
    Then the status is 404

  Scenario: A token registers as many hosts as it has uses
    Given the hosts 10.0.0.1 to 10.0.0.3
    And I request POST /enrollments with {"uses": 2}
    And I remember token as token
    When the host 10.0.0.1 registers itself with the token $token
    And the host 10.0.0.2 registers itself with the token $token
    Then the host 10.0.0.3 with the token $token is rejected with 403: "used up"
    When I request GET /enrollments
    Then the field 0.hosts is ["10.0.0.1", "10.0.0.2"]

  Scenario: A host that registers itself again counts once
    Given the hosts 10.0.0.1 to 10.0.0.2
    And I request POST /enrollments with {"uses": 2}
    And I remember token as token
    And the host 10.0.0.1 registers itself with the token $token
    When the host 10.0.0.1 registers itself with the token $token
    And the host 10.0.0.2 registers itself with the token $token
    And I request GET /enrollments
    Then the field 0.hosts is ["10.0.0.1", "10.0.0.2"]

  Scenario: A token registers no host once it has expired
    Given a host 10.0.0.1
    And I request POST /enrollments with {"expires": "1h"}
    And I remember token as token
    When 61 minutes pass
    Then the host 10.0.0.1 with the token $token is rejected with 403: "this enrollment token has expired"
    When I request GET /host/10.0.0.1
    Then the status is 404

  Scenario: A token registers hosts of its networks only
    Given a host 10.0.0.1
    And a host 10.1.0.1
    And I request POST /enrollments with {"from": ["10.1.0.0/16"], "uses": 2}
    And I remember token as token
    Then the host 10.0.0.1 with the token $token is rejected with 403: "this enrollment token is for hosts of another network"
    When the host 10.1.0.1 registers itself with the token $token
    And I request GET /hosts
    Then the answer is [{"address": "10.1.0.1"}]

  Scenario: A revoked token registers no host, and its hosts stay
    Given the hosts 10.0.0.1 to 10.0.0.2
    And I request POST /enrollments with {"uses": 2}
    And I remember token as token
    And I remember id as id
    And the host 10.0.0.1 registers itself with the token $token
    When I request DELETE /enrollment/$id
    Then the status is 200
    And the host 10.0.0.2 with the token $token is rejected with 403: "this enrollment token is unknown, or was revoked"
    When I request GET /hosts
    Then the answer is [{"address": "10.0.0.1"}]

  Scenario: A token that was restored from a backup is void
    Given a host 10.0.0.1
    And I request POST /enrollments with {}
    And I remember token as token
    And I remember id as id
    When the enrollment $id was restored from a backup
    Then the host 10.0.0.1 with the token $token is rejected with 403: "a restore from a backup voided this enrollment token"

  @real
  Scenario: A host registers itself only, by the address that it requests from
    Given I request POST /enrollments with {}
    And I remember token as token
    When a host with the token $token requests PUT /host/10.0.0.9 with {"ssh_host_key": "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGZvbGxvdy10aGUtd2hpdGUtcmFiYml0LXRvLW5lYg=="}
    Then the status is 403
    And the field detail is "with an enrollment token a host registers itself: by the address it asks from"

  Scenario: A host has to announce the SSH key that it will present
    Given I request POST /enrollments with {}
    And I remember token as token
    When a host with the token $token requests PUT /host with {}
    Then the status is 400
    And the field detail has "with an enrollment token ssh_host_key is needed" in it

  Scenario: A host that presents another SSH key than it announced does not join
    Given the cluster web
    And a host 192.0.2.1
    And I request POST /enrollments with {"cluster": "web"}
    And I remember token as token
    When a host with the token $token requests PUT /host with {"ssh_host_key": "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGZvbGxvdy10aGUtd2hpdGUtcmFiYml0LXRvLW5lYg=="}
    Then the status is 201
    When 20 minutes pass
    And I request GET /cluster/web/hosts
    Then the answer is []
    When I request GET /host/192.0.2.1
    Then the status is 404

  Scenario: A host does not choose another cluster than that of its token
    Given the cluster web
    And the cluster db
    And a host 192.0.2.1
    And I request POST /enrollments with {"cluster": "web"}
    And I remember token as token
    When a host with the token $token requests PUT /host with {"cluster": "db", "ssh_host_key": "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGZvbGxvdy10aGUtd2hpdGUtcmFiYml0LXRvLW5lYg=="}
    Then the status is 403
    When I request GET /hosts
    Then the answer is []

  @real
  Scenario: A token registers a host, and nothing else
    Given I request POST /enrollments with {}
    And I remember token as token
    When the owner of the token $token requests GET /hosts
    Then the status is 403
    And the field detail is "the role enroll may register hosts, and nothing else"

  Scenario: An enrollment is for one host, for a day, from anywhere unless it says otherwise
    When I request POST /enrollments with {}
    Then the answer is {"cluster": "", "uses": 1, "from": [], "hosts": [], "created_by": "admin"}
    And the field expires has "2026-12-02T12:00:00" in it

  @real
  Scenario: A token is shown once
    Given I request POST /enrollments with {"uses": 20}
    And I remember token as token
    When I request GET /enrollments
    Then the answer is [{"uses": 20, "token": null}]
    And the answer does not say "$token"

  @real
  Scenario Outline: An enrollment with <mistake> is rejected
    When I request POST /enrollments with <body>
    Then the status is <status>
    And the field detail has "<words>" in it
    When I request GET /enrollments
    Then the answer is []

    Examples:
      | mistake                | body                     | status | words                      |
      | an end that is none    | {"expires": "soon"}      | 400    | expires is                 |
      | an end that is now     | {"expires": 0}           | 400    | in the future              |
      | no uses                | {"uses": 0}              | 400    | uses is 1 to 10000         |
      | too many uses          | {"uses": 10001}          | 400    | uses is 1 to 10000         |
      | a network that is none | {"from": ["home"]}       | 400    | from                       |
      | an unknown cluster     | {"cluster": "web"}       | 409    | create it first            |

  @real
  Scenario: commctl makes, lists and revokes an enrollment
    Given the cluster web
    When I run `commctl --output json enroll create --cluster web --uses 20 --expires 2h --from 10.0.0.0/8`
    Then the command succeeds
    And it prints ""uses": 20"
    And it prints ""cluster": "web""
    And it prints ""token": ""
    When I request GET /enrollments
    And I remember 0.id as id
    And I run `commctl enroll list`
    Then the command succeeds
    And it prints "id: $id"
    And it prints "- 10.0.0.0/8"
    And it does not print "token"
    When I run `commctl enroll revoke $id`
    Then the command succeeds
    And it says "deleted $id"
    When I request GET /enrollments
    Then the answer is []

  @real
  Scenario: commctl fails for an enrollment that does not exist
    When I run `commctl enroll revoke 123456789abc`
    Then the command exits with 1
    And it says "there is no enrollment 123456789abc (404 Not Found)"

  @real
  Scenario: commctl writes user data with a token of its own
    Given the cluster web
    When I run `commctl user-data --endpoint https://10.0.0.9:8000 --cluster web --uses 20 --remote-user ops`
    Then the command succeeds
    And it prints "Content-Type: multipart/mixed"
    And it prints "Content-Type: text/x-commissaire-host"
    And it prints ""endpoint": "https://10.0.0.9:8000""
    And it prints ""cluster": "web""
    And it prints ""remote_user": "ops""
    And it prints ""token": ""
    And it says "a token for 20 hosts made"
    When I request GET /enrollments
    Then the answer is [{"cluster": "web", "uses": 20}]

  Scenario: User data is written into a file, with the token and the server's public key
    Given I request POST /enrollments with {}
    And I remember token as token
    When I run `commctl user-data --endpoint https://10.0.0.9:8000 --token-file - --outfile web.userdata` with the input:
      """
      $token
      """
    Then the command succeeds
    And it prints nothing
    And the file web.userdata of admin has ""token": "$token"" in it
    And the file web.userdata of admin has ""public_key": "ssh-ed25519 " in it

  @real
  Scenario: User data may hold a user and its password in place of a token, as with the original
    When I run `commctl user-data --endpoint https://10.0.0.9:8000 --username enroller --password-file -` with the input:
      """
      password-of-enroller
      """
    Then the command succeeds
    And it prints ""username": "enroller""
    And it prints ""password": "password-of-enroller""
    And it does not print ""token": "
    When I request GET /enrollments
    Then the answer is []

  @real
  Scenario: User data has a cloud-config of the operator's, if that is one
    Given the file mine.yaml of admin:
      """
      packages: [vim]
      """
    When I run `commctl user-data --endpoint https://10.0.0.9:8000 --cloud-init mine.yaml`
    Then the command exits with 2
    And it says "mine.yaml is no cloud-config: the first line of one is #cloud-config"
    And it prints nothing

  @real
  Scenario: Only administrators make user data with a token
    When an operator runs `commctl user-data --endpoint https://10.0.0.9:8000`
    Then the command exits with 1
    And it says "this needs the role admin, and operator has the role operator"
    And it prints nothing
