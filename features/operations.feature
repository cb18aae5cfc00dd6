Feature: Operations
  A restart, an upgrade or a deployment works on the hosts of a cluster, a few at a time. It can be read, followed,
  paused, aborted and continued by its id, by the API and by commctl.

  Background:
    Given the cluster web with the hosts 10.0.0.1 to 10.0.0.3

  Scenario Outline: The <kind> of a cluster is started, and its record says how far it is
    When I request PUT /cluster/web/<kind> with <body>
    Then the status is 201
    And the answer is {"name": "web", "status": "in_process"}
    When the <kind> of web becomes finished
    And I request GET /cluster/web/<kind>
    Then the status is 200
    And the field in_process is []

    Examples:
      | kind    | body                  |
      | restart | {}                    |
      | upgrade | {}                    |

  @real
  Scenario Outline: There is no <kind> before the first one
    When I request GET /cluster/web/<kind>
    Then the status is 404

    Examples:
      | kind    |
      | restart |
      | upgrade |
      | deploy  |

  @real
  Scenario: A deployment needs a version
    When I request PUT /cluster/web/deploy with {}
    Then the status is 400
    And no host was rebooted

  @real
  Scenario: An operation is read with its hosts
    Given I request PUT /cluster/web/restart with {}
    And I remember the operation
    When the operation $operation becomes finished
    And I request GET /operation/$operation
    Then the status is 200
    And the answer is {"kind": "restart", "cluster": "web", "status": "finished"}
    And the field hosts.0.step is done
    When I request GET /cluster/web/operations
    Then the status is 200
    And the field 0.id is $operation

  @real
  Scenario: The events of an operation tell each step of each host
    Given I request PUT /cluster/web/restart with {}
    And I remember the operation
    And the operation $operation becomes finished
    When I request GET /operation/$operation/events
    Then the status is 200
    And the answer says "reboot"
    When I run `commctl operation events $operation`
    Then the command succeeds
    And it prints "10.0.0.3"

  Scenario: A paused operation begins with no further host until it is resumed
    Given I request PUT /cluster/web/restart with {}
    And I remember the operation
    When I request POST /operation/$operation/pause
    Then the status is 200
    When 2 hours pass
    And I request GET /operation/$operation
    Then the field status is in_process
    When I request POST /operation/$operation/resume
    Then the status is 200
    When the operation $operation becomes finished
    Then the hosts 10.0.0.1 to 10.0.0.3 were rebooted once
    And never more than 1 host was down at once

  @real
  Scenario: A deployment fails on a host that has no OSTree
    When I request PUT /cluster/web/deploy with {"version": "7.2.6"}
    Then the status is 201
    When the deploy of web becomes failed
    And I request GET /cluster/web/deploy
    Then the field failures.0.reason has "10.0.0.1 is no OSTree host" in it
    And no host was rebooted

  @real
  Scenario: An aborted operation begins with no further host
    Given I request PUT /cluster/web/restart with {}
    And I remember the operation
    When I request POST /operation/$operation/abort
    Then the status is 200
    When the restart of web becomes failed
    Then the hosts 10.0.0.2 to 10.0.0.3 were not rebooted

  Scenario: A failed restart is continued with the hosts that are left
    Given the host 10.0.0.2 does not come back
    And I request PUT /cluster/web/restart with {"timeout": 120}
    And the restart of web becomes failed
    And I request GET /cluster/web/operations
    And I remember 0.id as operation
    When the host 10.0.0.2 comes back
    And the host 10.0.0.2 becomes disassociated
    And I request POST /operation/$operation/continue with {}
    Then the status is 201
    When the restart of web becomes finished
    Then the hosts 10.0.0.1 to 10.0.0.3 were rebooted once

  Scenario: Nothing begins while operations are frozen
    Given I request PUT /freeze with {"reason": "storm"}
    And I request PUT /cluster/web/restart with {}
    When 3 hours pass
    Then no host was rebooted
    When I request GET /freeze
    Then the answer is {"reason": "storm"}
    When I request GET /explain/cluster/web
    Then the status is 200
    And the answer says "storm"
    When I request DELETE /freeze
    Then the status is 200
    When the restart of web becomes finished
    Then the hosts 10.0.0.1 to 10.0.0.3 were rebooted once

  @real
  Scenario: commctl freezes operations, and lifts the freeze
    When I run `commctl freeze on --reason storm`
    Then the command succeeds
    When I run `commctl freeze status`
    Then it prints "storm"
    When I run `commctl explain`
    Then it prints "storm"
    When I run `commctl freeze off`
    Then the command succeeds

  Scenario Outline: commctl starts a <kind> and waits for its end
    When I run `commctl cluster <kind> start --wait web`
    Then the command succeeds
    And it prints "status: finished"
    When I run `commctl cluster <kind> status web`
    Then the command succeeds
    And it prints "status: finished"

    Examples:
      | kind    |
      | restart |
      | upgrade |

  @real
  Scenario: commctl says why a deployment has failed
    When I run `commctl cluster deploy start --wait web 7.2.6`
    Then the command exits with 1
    And it says "is no OSTree host"
    When I run `commctl cluster deploy status web`
    Then it prints "version: 7.2.6"

  @real
  Scenario Outline: commctl steers a <kind> by the name of its cluster
    Given I request PUT /cluster/web/<kind> with {"version": "1"}
    And I remember the operation
    When I run `commctl cluster <kind> pause web`
    Then the command succeeds
    When I run `commctl cluster <kind> resume web`
    Then the command succeeds
    When I run `commctl cluster <kind> abort web`
    Then the command succeeds

    Examples:
      | kind    |
      | restart |
      | upgrade |

  @real
  Scenario Outline: commctl says that there is no deployment to <verb>
    When I run `commctl cluster deploy <verb> web`
    Then the command exits with 1
    And it says "error: "
    And it prints nothing

    Examples:
      | verb   |
      | pause  |
      | resume |
      | abort  |

  @real
  Scenario: commctl lists, shows, pauses, resumes, aborts and continues operations by their ids
    Given I request PUT /cluster/web/restart with {}
    And I remember the operation
    When I run `commctl operation list web`
    Then it prints "$operation"
    When I run `commctl -o name operation list`
    Then it prints "$operation"
    When I run `commctl operation get $operation`
    Then it prints "kind: restart"
    When I run `commctl operation get @last`
    Then it prints "id: $operation"
    When I run `commctl operation pause $operation`
    Then the command succeeds
    When I run `commctl operation resume $operation`
    Then the command succeeds
    When I run `commctl operation abort $operation`
    Then the command succeeds
    When the restart of web becomes failed
    And I run `commctl operation continue $operation`
    Then the command succeeds
    When the restart of web becomes finished
    Then the hosts 10.0.0.1 to 10.0.0.3 were rebooted once

  @real
  Scenario: Whoever asks why nothing happens is told
    Given the host 10.0.0.2 loses its power
    And the host 10.0.0.2 becomes failed
    When I request GET /explain/host/10.0.0.2
    Then the status is 200
    And the answer says "10.0.0.2"
    When I run `commctl explain 10.0.0.2`
    Then the command succeeds
    And it prints "10.0.0.2"

  @real
  Scenario: The whole installation is explained
    When I request GET /explain
    Then the status is 200
    And the field state is ok
    And the field sentence has "no operation is in process" in it

  @real
  Scenario: An operation is explained by its id
    Given I request PUT /cluster/web/restart with {}
    And I remember the operation
    When I request GET /explain/operation/$operation
    Then the status is 200
    And the answer says "$operation"

  @real
  Scenario: A health check says when a host is well again after its restart
    When I request PUT /healthcheck/web with {"command": "curl -fs http://127.0.0.1/"}
    Then the status is 201
    When I request GET /healthcheck/web
    Then the answer is {"command": "curl -fs http://127.0.0.1/"}
    When I request GET /healthchecks
    Then the status is 200
    And the answer says "web"
    When I request DELETE /healthcheck/web
    Then the status is 200

  @real
  Scenario: commctl makes, shows and deletes health checks
    When I run `commctl health-check create web true`
    Then the command succeeds
    When I run `commctl health-check get web`
    Then it prints "command: 'true'"
    When I run `commctl health-check list`
    Then it prints "web"
    When I run `commctl health-check delete web`
    Then the command succeeds
