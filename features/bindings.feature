Feature: Bindings
  A binding gives a user, a group or the owner of a client certificate a role on some clusters.
  A user with a binding has no other rights; one without any has the role of the configuration, on all clusters.

  Scenario: A binding is made, read, replaced and deleted
    When I request PUT /binding/team with {"kind": "group", "subject": "corp:team", "role": "reader", "clusters": ["web", "web-*"]}
    Then the status is 201
    And the answer is {"name": "team", "kind": "group", "subject": "corp:team", "role": "reader", "clusters": ["web", "web-*"], "run_commands": false, "changed_by": "admin"}
    When I request PUT /binding/team with {"kind": "group", "subject": "corp:team", "role": "operator", "clusters": ["web"]}
    Then the status is 200
    When I request GET /binding/team
    Then the answer is {"role": "operator", "clusters": ["web"]}
    When I request GET /bindings
    Then the answer is [{"name": "team"}]
    When I request DELETE /binding/team
    Then the status is 200
    When I request GET /binding/team
    Then the status is 404
    And the field detail is "there is no binding team"

  Scenario Outline: A binding with <mistake> is rejected
    When I request PUT /binding/x with <body>
    Then the status is 400
    When I request GET /bindings
    Then the answer is []

    Examples:
      | mistake            | body                                                                                 |
      | no cluster         | {"kind": "user", "subject": "ann", "role": "reader", "clusters": []}                 |
      | an unknown role    | {"kind": "user", "subject": "ann", "role": "root", "clusters": ["*"]}                |
      | an unknown kind    | {"kind": "robot", "subject": "ann", "role": "reader", "clusters": ["*"]}             |
      | no subject         | {"kind": "user", "role": "reader", "clusters": ["*"]}                                |
      | another name       | {"name": "y", "kind": "user", "subject": "ann", "role": "reader", "clusters": ["*"]} |
      | the role enroll    | {"kind": "user", "subject": "ann", "role": "enroll", "clusters": ["*"]}              |
      | a misspelt field   | {"kind": "user", "subject": "ann", "role": "reader", "cluster": ["*"]}               |

  Scenario: A bound user works on its clusters only
    Given the cluster web
    And the cluster db
    And I request PUT /binding/op with {"kind": "user", "subject": "operator", "role": "operator", "clusters": ["web"]}
    And 10 seconds pass
    When the operator requests GET /clusters
    Then the answer is ["web"]
    When the operator requests PUT /cluster/web/restart
    Then the status is 201

  Scenario Outline: To a bound user the objects of other clusters do not exist: <method> <path>
    Given the cluster web with the host 10.0.0.1
    And the cluster db with the host 10.0.0.2
    And I request PUT /binding/op with {"kind": "user", "subject": "operator", "role": "operator", "clusters": ["web"]}
    And 10 seconds pass
    When the operator requests <method> <path>
    Then the status is 404
    And the field detail is "<detail>"

    Examples:
      | method | path                 | detail                       |
      | GET    | /cluster/db          | there is no cluster db       |
      | PUT    | /cluster/db/restart  | there is no cluster db       |
      | DELETE | /cluster/db          | there is no cluster db       |
      | GET    | /host/10.0.0.2       | there is no host 10.0.0.2    |
      | DELETE | /host/10.0.0.2       | there is no host 10.0.0.2    |

  Scenario: Lists leave out the hosts of other clusters
    Given the cluster web with the host 10.0.0.1
    And the cluster db with the host 10.0.0.2
    And I request PUT /binding/re with {"kind": "user", "subject": "reader", "role": "reader", "clusters": ["web"]}
    And 10 seconds pass
    When the reader requests GET /hosts
    Then the answer is [{"address": "10.0.0.1"}]
    And the answer does not say "10.0.0.2"

  Scenario: A user has a different role on each of its clusters
    Given the cluster web
    And the cluster db
    And I request PUT /binding/a with {"kind": "user", "subject": "operator", "role": "operator", "clusters": ["web"]}
    And I request PUT /binding/b with {"kind": "user", "subject": "operator", "role": "reader", "clusters": ["db"]}
    And 10 seconds pass
    When the operator requests PUT /cluster/web/restart
    Then the status is 201
    When the operator requests PUT /cluster/db/restart
    Then the status is 403
    And the field detail has "operator" in it
    When the operator requests GET /cluster/db
    Then the status is 200

  Scenario: A pattern includes clusters that are made later
    Given I request PUT /binding/op with {"kind": "user", "subject": "operator", "role": "operator", "clusters": ["web-*"]}
    And 10 seconds pass
    When the operator requests PUT /cluster/web-eu with {}
    Then the status is 201
    When the operator requests PUT /cluster/shop with {}
    Then the status is 403
    When I request GET /clusters
    Then the answer is ["web-eu"]

  Scenario Outline: Objects without a cluster need a role on all clusters: <method> <path>
    Given the cluster web
    And I request PUT /binding/op with {"kind": "user", "subject": "operator", "role": "operator", "clusters": ["web"]}
    And 10 seconds pass
    When the operator requests <method> <path>
    Then the status is 403
    And the field detail has "all clusters" in it

    Examples:
      | method | path               |
      | GET    | /networks          |
      | GET    | /containermanagers |
      | PUT    | /freeze            |
      | GET    | /metrics           |
      | PUT    | /host/10.0.0.9     |

  Scenario: A binding for a client certificate names its issuer
    Given the cluster web
    And the cluster db
    And I request PUT /binding/m with {"kind": "certificate", "subject": "Example CA/monitoring", "role": "operator", "clusters": ["web"]}
    And 10 seconds pass
    When the owner of the certificate "monitoring" requests GET /clusters
    Then the answer is ["web"]
    When the owner of the certificate "monitoring" requests PUT /cluster/web/restart
    Then the status is 201

  Scenario: Without its last binding a user has the role of the configuration again
    Given the cluster web
    And the cluster db
    And I request PUT /binding/re with {"kind": "user", "subject": "reader", "role": "operator", "clusters": ["web"]}
    And 10 seconds pass
    And I request DELETE /binding/re
    And 10 seconds pass
    When the reader requests GET /whoami
    Then the answer is {"role": "reader", "rights": [{"role": "reader", "clusters": ["*"]}]}

  Scenario: An administrator cannot take its own role away
    When I request PUT /binding/me with {"kind": "user", "subject": "admin", "role": "reader", "clusters": ["*"]}
    Then the status is 409
    And the field detail has "admin would no longer be an administrator of all clusters" in it
    When I request GET /bindings
    Then the answer is []

  Scenario: An operator runs a health command of its own only with the permission
    Given the cluster web with the host 10.0.0.1
    When the operator requests PUT /cluster/web/restart with {"health_command": "true"}
    Then the status is 403
    And the field detail has "run-commands" in it
    When I run `commctl access create op --user operator --role operator --cluster web --run-commands`
    And 10 seconds pass
    And the operator requests PUT /cluster/web/restart with {"health_command": "true"}
    Then the status is 201

  Scenario: A user of some clusters registers a host with a key of its own, not with the server's
    Given the cluster web
    And a host 10.0.0.1
    And I request PUT /binding/op with {"kind": "user", "subject": "operator", "role": "operator", "clusters": ["web"]}
    And 10 seconds pass
    When the operator requests PUT /host/10.0.0.1 with {"cluster": "web"}
    Then the status is 403
    And the field detail has "hosts of all clusters accept the server's own SSH key" in it
    When the operator requests PUT /host/10.0.0.1 with {"cluster": "web", "ssh_priv_key": "cHJpdmF0ZS1rZXk="}
    Then the status is 201

  Scenario: A user of some clusters makes clusters only on container managers that serve them
    Given I request PUT /containermanager/ours with {"type": "trivial", "clusters": ["web-*"]}
    And the status is 201
    And I request PUT /containermanager/theirs with {"type": "trivial"}
    And I request PUT /binding/op with {"kind": "user", "subject": "operator", "role": "operator", "clusters": ["web-*"]}
    And 10 seconds pass
    When the operator requests PUT /cluster/web-a with {"container_manager": "theirs"}
    Then the status is 409
    When the operator requests PUT /cluster/web-a with {"container_manager": "ours"}
    Then the status is 201
    And the field container_manager is ours

  Scenario: A binding that was restored from a backup gives no rights until it is accepted
    Given the cluster web
    And I request PUT /binding/re with {"kind": "user", "subject": "reader", "role": "operator", "clusters": ["web"]}
    And the binding re was restored from a backup
    And 10 seconds pass
    When the reader requests GET /clusters
    Then the status is 403
    When I request POST /bindings/accept with {"names": ["re"]}
    Then the status is 200
    And the answer is [{"name": "re", "pending": null}]
    When 10 seconds pass
    And the reader requests GET /clusters
    Then the answer is ["web"]

  Scenario: Bindings are accepted together or not at all
    Given I request PUT /binding/re with {"kind": "user", "subject": "reader", "role": "reader", "clusters": ["web"]}
    And the binding re was restored from a backup
    When I request POST /bindings/accept with {"names": ["re", "other"]}
    Then the status is 404
    And the field detail is "there is no binding other"
    When I request GET /binding/re
    Then the field pending is true

  Scenario: commctl makes a binding and shows it
    When I run `commctl access create team --group corp:team --role operator --cluster web --cluster 'web-*'`
    Then the command succeeds
    When I run `commctl --output json access get team`
    Then the command succeeds
    And it prints ""subject": "corp:team""
    And it prints ""role": "operator""
    And it prints ""web-*""

  Scenario: commctl lists the bindings
    Given I request PUT /binding/b with {"kind": "user", "subject": "bob", "role": "reader", "clusters": ["*"]}
    And I request PUT /binding/a with {"kind": "certificate", "subject": "Example CA/x", "role": "backup", "clusters": ["*"]}
    When I run `commctl --output table access list`
    Then the command succeeds
    And it prints "Example CA/x"
    And it prints "bob"

  Scenario: commctl warns that a user has more rights without its last binding
    Given I request PUT /binding/ann with {"kind": "user", "subject": "ann", "role": "reader", "clusters": ["web"]}
    When I run `commctl access delete ann`
    Then the command succeeds
    And it says "deleted ann"
    And it says "note: the user "ann" has no binding any more: what the configuration gives it counts again, on all clusters"

  Scenario: commctl fails for a binding that does not exist
    When I run `commctl access get team`
    Then the command exits with 1
    And it says "there is no binding team (404 Not Found)"

  Scenario: commctl accepts a restored binding that is named
    Given I request PUT /binding/re with {"kind": "user", "subject": "reader", "role": "reader", "clusters": ["web"]}
    And the binding re was restored from a backup
    When I run `commctl access accept re`
    Then the command succeeds
    And it prints "name: re"
    When I request GET /binding/re
    Then the field pending is null

  Scenario: commctl shows restored bindings before all of them are accepted
    Given I request PUT /binding/re with {"kind": "user", "subject": "reader", "role": "reader", "clusters": ["web"]}
    And the binding re was restored from a backup
    When I run `commctl access accept --all`
    Then the command exits with 2
    And it says "re: user reader, role reader on ["web"]"
    And it says "nothing was accepted"
    When I run `commctl access accept --all --yes`
    Then the command succeeds
    And it prints "name: re"
    When I run `commctl access accept --all`
    Then the command succeeds
    And it says "no binding waits to be accepted"
