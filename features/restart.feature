Feature: Restarts
  A restart reboots the hosts of a cluster one after the other, and proves that each is back before the next one.
  One operation at a time works on a cluster; a request that cannot be carried out is rejected, and nothing is started.

  Scenario: All hosts of a cluster are restarted, one at a time
    Given the cluster web with the hosts 10.0.0.1 to 10.0.0.3
    When I request PUT /cluster/web/restart
    Then the status is 201
    And the answer is {"name": "web", "status": "in_process", "finished_at": null, "restarted": [], "failures": null}
    And the field started_at has "2026-12-01T12:00:" in it
    When the restart of web becomes finished
    And I request GET /cluster/web/restart
    Then the status is 200
    And the answer is {"name": "web", "in_process": [], "restarted": ["10.0.0.1", "10.0.0.2", "10.0.0.3"], "failures": null}
    And the field finished_at has "2026-12-01T12:0" in it
    And the hosts were rebooted in the order 10.0.0.1, 10.0.0.2, 10.0.0.3
    And never more than 1 host was down at once

  @real
  Scenario: The record of a restart shows which host is under way
    Given the cluster web with the hosts 10.0.0.1 to 10.0.0.3
    And I request PUT /cluster/web/restart
    And I remember the operation
    When the operation $operation is at the step verify on 10.0.0.2
    And I request GET /cluster/web/restart
    Then the answer is {"status": "in_process", "in_process": ["10.0.0.2"], "restarted": ["10.0.0.1"], "finished_at": null}

  @real
  Scenario: The restart of a cluster without hosts is finished at once
    Given the cluster web
    When I request PUT /cluster/web/restart
    Then the status is 201
    When the restart of web becomes finished
    And I request GET /cluster/web/restart
    Then the answer is {"in_process": [], "restarted": []}

  @real
  Scenario: Only the named hosts are restarted
    Given the cluster web with the hosts 10.0.0.1 to 10.0.0.3
    When I request PUT /cluster/web/restart with {"hosts": ["10.0.0.3"]}
    Then the status is 201
    When the restart of web becomes finished
    And I request GET /cluster/web/restart
    Then the field restarted is ["10.0.0.3"]
    And the hosts 10.0.0.1 to 10.0.0.2 were not rebooted

  @real
  Scenario: A host that is no member is not restarted
    Given the cluster web with the host 10.0.0.1
    And the registered host 10.0.0.2
    When I request PUT /cluster/web/restart with {"hosts": ["10.0.0.2"]}
    Then the status is 400
    And the field detail has "10.0.0.2 is no member of the cluster web" in it
    And no host was rebooted

  @real
  Scenario Outline: The <kind> of a cluster that does not exist is rejected
    When I request PUT /cluster/web/<kind> with {"version": "42.1"}
    Then the status is 404
    And the field detail is "there is no cluster web"

    Examples:
      | kind    |
      | restart |
      | upgrade |
      | deploy  |

  @real
  Scenario Outline: Without a former <kind> there is no record of it
    Given the cluster web
    When I request GET /cluster/web/<kind>
    Then the status is 404
    And the field detail is "the cluster web has never been <done>"

    Examples:
      | kind    | done      |
      | restart | restarted |
      | upgrade | upgraded  |
      | deploy  | deployed  |

  @real
  Scenario Outline: During a restart no <kind> of the same cluster begins
    Given the cluster web with the hosts 10.0.0.1 to 10.0.0.2
    And I request PUT /cluster/web/restart
    And I remember the operation
    When I request PUT /cluster/web/<kind> with {"version": "42.1"}
    Then the status is 409
    And the field detail has "the restart $operation" in it
    And the field detail has "is in process already: wait for its end, or abort it" in it
    When the restart of web becomes finished
    And I request GET /cluster/web/operations
    Then the answer is [{"id": "$operation"}]

    Examples:
      | kind    |
      | restart |
      | upgrade |
      | deploy  |

  Scenario: Two clusters are restarted at the same time
    Given the cluster web with the hosts 10.0.0.1 to 10.0.0.2
    And the cluster db with the hosts 10.0.1.1 to 10.0.1.2
    When I request PUT /cluster/web/restart
    And I request PUT /cluster/db/restart
    Then the status is 201
    When the restart of web becomes finished
    And the restart of db becomes finished
    Then 2 hosts were down at once

  @real
  Scenario Outline: A restart with the option <option>: <value> is rejected
    Given the cluster web with the host 10.0.0.1
    When I request PUT /cluster/web/restart with {"<option>": <value>}
    Then the status is 400
    And the answer says "<detail>"
    When I request GET /cluster/web/restart
    Then the status is 404

    Examples:
      | option           | value       | detail                                            |
      | max_unavailable  | 0           | is neither a count of 1 or more nor 1% to 100%     |
      | max_unavailable  | "101%"      | is neither a count of 1 or more nor 1% to 100%     |
      | max_failures     | -1          | max_failures: invalid value                       |
      | soak             | 86401       | soak: 0 to 86400 seconds, not 86401               |
      | settle           | "30s"       | settle: invalid type                              |
      | health_timeout   | 0           | health_timeout: 1 to 86400 seconds, not 0         |
      | health_url       | "ftp://a"   | health_url: an http or https URL                  |
      | order            | "random"    | order: unknown variant `random`                   |
      | hosts            | []          | hosts: names no host                              |
      | max_unavailable  | null        | max_unavailable: null is no value                 |
      | reboot           | "always"    | reboot: is an option of an upgrade                |
      | dryrun           | true        | did you mean "dry_run"? Nothing was started.      |
      | max-unavailable  | 2           | did you mean "max_unavailable"? Nothing was started. |
      | name             | "db"        | name                                              |

  @real
  Scenario: A restart is rejected while an unreachable host uses the disruption budget up
    Given the cluster web with the hosts 10.0.0.1 to 10.0.0.3
    And the host 10.0.0.2 loses its power
    When I request PUT /cluster/web/restart
    Then the status is 409
    And the field detail has "1 of 3 hosts cannot be used already (10.0.0.2:" in it
    And the field detail has "at most 1 may be unavailable at a time" in it
    And no host was rebooted

  @real
  Scenario: With skip_unreachable and a larger budget the other hosts are restarted
    Given the cluster web with the hosts 10.0.0.1 to 10.0.0.4
    And the host 10.0.0.2 loses its power
    When I request PUT /cluster/web/restart with {"skip_unreachable": true, "max_unavailable": 2}
    Then the status is 201
    When I remember the operation
    And the restart of web becomes finished
    And I request GET /cluster/web/restart
    Then the field restarted is ["10.0.0.1", "10.0.0.3", "10.0.0.4"]
    And never more than 2 hosts were down at once
    When I request GET /operation/$operation
    Then the field counts is {"total": 4, "done": 3, "skipped": 1}

  @real
  Scenario: A restart of hosts none of which can be reached is rejected
    Given the cluster web with the hosts 10.0.0.1 to 10.0.0.3
    And the host 10.0.0.2 loses its power
    When I request PUT /cluster/web/restart with {"hosts": ["10.0.0.2"], "skip_unreachable": true, "max_unavailable": 2}
    Then the status is 409
    And the field detail is "none of the hosts can be reached"

  @real
  Scenario: commctl restarts a cluster, and waits for the end
    Given the cluster web with the hosts 10.0.0.1 to 10.0.0.2
    When I run `commctl cluster restart start --wait web`
    Then the command succeeds
    And it prints "status: finished"
    And it says "10.0.0.2"
    When I run `commctl -o json cluster restart status web`
    Then the command succeeds
    And it prints ""restarted":"

  Scenario: commctl starts a restart without waiting for it
    Given the cluster web with the hosts 10.0.0.1 to 10.0.0.2
    When I run `commctl cluster restart start --soak 1h web`
    Then the command succeeds
    And it prints "status: in_process"

  Scenario: commctl fails with the reason of a failed restart
    Given the cluster web with the hosts 10.0.0.1 to 10.0.0.2
    And the host 10.0.0.1 does not come back
    When I run `commctl cluster restart start --wait web`
    Then the command exits with 1
    And it prints "status: failed"
    And it says "10.0.0.1 (not-back)"

  @real
  Scenario: commctl says why a restart was rejected
    Given the cluster web with the hosts 10.0.0.1 to 10.0.0.2
    And the host 10.0.0.2 loses its power
    When I run `commctl cluster restart start web`
    Then the command exits with 1
    And it says "10.0.0.2"
    And it says "raise max_unavailable"
    And it prints nothing

  @real
  Scenario: commctl rejects a budget that is none
    When I run `commctl cluster restart start --max-unavailable 0% web`
    Then the command exits with 2
    And it says "neither a count of 1 or more nor 1% to 100%"
