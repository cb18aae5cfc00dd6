Feature: Rollouts
  A rollout keeps a limit on how many hosts of a cluster are unavailable at a time, tries a change on one healthy host
  first, waits between hosts as it is asked to, and stops at the first failure unless it is told to tolerate some.

  Scenario Outline: Of <total> hosts <count> may be down at once with max_unavailable: <limit>
    Given the cluster web with the hosts 10.0.0.1 to 10.0.0.<total>
    When I request PUT /cluster/web/restart with {"max_unavailable": <limit>}
    And the restart of web becomes finished
    Then the hosts 10.0.0.1 to 10.0.0.<total> were rebooted once
    And <count> hosts were down at once

    Examples:
      | total | limit  | count |
      | 5     | 2      | 2     |
      | 7     | "3"    | 3     |
      | 7     | "30%"  | 2     |
      | 9     | "50%"  | 4     |

  @real
  Scenario: A percentage of less than one host allows one
    Given the cluster web with the hosts 10.0.0.1 to 10.0.0.3
    When I request PUT /cluster/web/restart with {"max_unavailable": "10%"}
    And the restart of web becomes finished
    Then the hosts 10.0.0.1 to 10.0.0.3 were rebooted once
    And never more than 1 host was down at once

  Scenario: Where several hosts may be down, the first healthy one goes alone
    Given the cluster web with the hosts 10.0.0.1 to 10.0.0.5
    And I request PUT /cluster/web/restart with {"max_unavailable": 3}
    And I remember the operation
    When the operation $operation is at the step settle on 10.0.0.1
    Then the hosts 10.0.0.2 to 10.0.0.5 were not rebooted
    When the operation $operation becomes finished
    Then 3 hosts were down at once

  Scenario: A change that breaks the first healthy host breaks no other one
    Given the cluster web with the hosts 10.0.0.1 to 10.0.0.5
    And the host 10.0.0.1 does not come back
    When I request PUT /cluster/web/restart with {"max_unavailable": 3}
    And the restart of web becomes failed
    Then the hosts 10.0.0.2 to 10.0.0.5 were not rebooted

  Scenario: Hosts that are down for other reasons count in the disruption budget
    Given the cluster web with the hosts 10.0.0.1 to 10.0.0.5
    And the host 10.0.0.5 loses its power
    When I request PUT /cluster/web/restart with {"max_unavailable": 2, "skip_unreachable": true}
    And the restart of web becomes finished
    Then the hosts 10.0.0.1 to 10.0.0.4 were rebooted once
    And never more than 2 hosts were down at once

  Scenario: The soak time passes between a host that is done and the next one
    Given the cluster web with the hosts 10.0.0.1 to 10.0.0.3
    When I request PUT /cluster/web/restart with {"soak": 600}
    And the restart of web becomes finished
    Then the hosts 10.0.0.1 to 10.0.0.3 were rebooted once
    And at least 10 minutes passed between two reboots

  Scenario: A host has to stay up for the settle time before the next one
    Given the cluster web with the hosts 10.0.0.1 to 10.0.0.3
    When I request PUT /cluster/web/restart with {"settle": 600}
    And the restart of web becomes finished
    Then the hosts 10.0.0.1 to 10.0.0.3 were rebooted once
    And at least 10 minutes passed between two reboots

  Scenario: A host that reboots while it settles has to settle again
    Given the cluster web with the hosts 10.0.0.1 to 10.0.0.2
    And the host 10.0.0.1 reboots once more 100 seconds after its boot
    When I request PUT /cluster/web/restart with {"settle": 120}
    And the restart of web becomes finished
    Then the hosts 10.0.0.1 to 10.0.0.2 were rebooted once
    And at least 220 seconds passed between two reboots

  Scenario: The first failure stops a rollout, and the hosts that are left are skipped
    Given the cluster web with the hosts 10.0.0.1 to 10.0.0.4
    And the host 10.0.0.2 does not come back
    When I request PUT /cluster/web/restart
    And I remember the operation
    And the restart of web becomes failed
    And I request GET /operation/$operation
    Then the answer is {"status": "failed", "state": "failed", "counts": {"total": 4, "done": 1, "failed": 1, "skipped": 2}}
    And the hosts 10.0.0.3 to 10.0.0.4 were not rebooted

  Scenario: With max_failures a rollout goes on after a failure, and ends as failed all the same
    Given the cluster web with the hosts 10.0.0.1 to 10.0.0.4
    And the host 10.0.0.2 does not come back
    When I request PUT /cluster/web/restart with {"max_failures": 1, "max_unavailable": 2}
    And the restart of web becomes failed
    And I request GET /cluster/web/restart
    Then the answer is {"in_process": ["10.0.0.2"], "restarted": ["10.0.0.1", "10.0.0.3", "10.0.0.4"], "failures": [{"host": "10.0.0.2"}]}
    And never more than 2 hosts were down at once

  Scenario: More failures than max_failures stop a rollout
    Given the cluster web with the hosts 10.0.0.1 to 10.0.0.5
    And the host 10.0.0.2 does not come back
    And the host 10.0.0.3 does not come back
    When I request PUT /cluster/web/restart with {"max_failures": 1, "max_unavailable": 2}
    And the restart of web becomes failed
    Then the hosts 10.0.0.4 to 10.0.0.5 were not rebooted
    When I request GET /cluster/web/restart
    Then the field failures is [{"host": "10.0.0.2"}, {"host": "10.0.0.3"}]

  Scenario: With if_needed the hosts that need no reboot are skipped
    Given the cluster web with the hosts 10.0.0.1 to 10.0.0.3
    And the host 10.0.0.2 needs no reboot
    When I request PUT /cluster/web/restart with {"if_needed": true}
    And I remember the operation
    And the restart of web becomes finished
    Then the host 10.0.0.2 was not rebooted
    And the hosts were rebooted in the order 10.0.0.1, 10.0.0.3
    When I request GET /operation/$operation
    Then the field counts is {"done": 2, "skipped": 1}
    And the field hosts.1.step is skipped

  Scenario: Without if_needed a host is rebooted that needs no reboot
    Given the cluster web with the host 10.0.0.1
    And the host 10.0.0.1 needs no reboot
    When I request PUT /cluster/web/restart
    And the restart of web becomes finished
    Then the host 10.0.0.1 was rebooted once

  Scenario: With order: least_recent those hosts are first whose last restart is the longest ago
    Given the cluster web with the hosts 10.0.0.1 to 10.0.0.3
    And I request PUT /cluster/web/restart with {"hosts": ["10.0.0.1"]}
    And the restart of web becomes finished
    When I request PUT /cluster/web/restart with {"order": "least_recent"}
    And the restart of web becomes finished
    Then the hosts were rebooted in the order 10.0.0.1, 10.0.0.2, 10.0.0.3, 10.0.0.1

  Scenario: A host that leaves the cluster before its turn is skipped
    Given the cluster web with the hosts 10.0.0.1 to 10.0.0.3
    And I request PUT /cluster/web/restart with {"soak": 600}
    And I remember the operation
    When the operation $operation is at the step done on 10.0.0.1
    And I request DELETE /cluster/web/hosts/10.0.0.2
    And the operation $operation becomes finished
    Then the host 10.0.0.2 was not rebooted
    And the host 10.0.0.3 was rebooted once
    When I request GET /operation/$operation
    Then the field hosts.1 is {"address": "10.0.0.2", "step": "skipped", "skipped": "removed from the cluster"}

  @real
  Scenario: A host that joins the cluster during a rollout is left alone
    Given the cluster web with the hosts 10.0.0.1 to 10.0.0.2
    And the registered host 10.0.0.3
    And I request PUT /cluster/web/restart
    When I request PUT /cluster/web/hosts/10.0.0.3
    Then the status is 200
    When the restart of web becomes finished
    Then the host 10.0.0.3 was not rebooted

  @real
  Scenario: A dry run says which hosts would be restarted, and starts nothing
    Given the cluster web with the hosts 10.0.0.1 to 10.0.0.3
    When I request PUT /cluster/web/restart with {"dry_run": true, "max_unavailable": "70%"}
    Then the status is 200
    And the answer is {"cluster": "web", "kind": "restart", "would_start": true, "refused": null, "max_unavailable": 2, "unavailable": []}
    And the field hosts is [{"address": "10.0.0.1", "action": "restart"}, {"address": "10.0.0.2", "action": "restart"}, {"address": "10.0.0.3", "action": "restart"}]
    When I request GET /cluster/web/operations
    Then the answer is []

  @real
  Scenario: A dry run says why the operation would be rejected
    Given the cluster web with the hosts 10.0.0.1 to 10.0.0.3
    And the host 10.0.0.2 loses its power
    When I request PUT /cluster/web/upgrade with {"dry_run": true}
    Then the status is 200
    And the answer is {"would_start": false, "reason": "budget-used-up", "unavailable": [{"address": "10.0.0.2"}]}
    And the field refused has "raise max_unavailable" in it

  @real
  Scenario: A dry run shows the hosts that would be left out
    Given the cluster web with the hosts 10.0.0.1 to 10.0.0.3
    And the host 10.0.0.2 loses its power
    When I request PUT /cluster/web/restart with {"dry_run": true, "skip_unreachable": true, "max_unavailable": 2}
    Then the answer is {"would_start": true}
    And the field hosts is [{"address": "10.0.0.1", "action": "restart"}, {"address": "10.0.0.3", "action": "restart"}, {"address": "10.0.0.2", "action": "skip"}]

  @real
  Scenario: commctl shows with --dry-run what would happen
    Given the cluster web with the hosts 10.0.0.1 to 10.0.0.3
    When I run `commctl cluster restart start --dry-run --host 10.0.0.2 web`
    Then the command succeeds
    And it prints "would_start: true"
    And it prints "address: 10.0.0.2"
    And it does not print "10.0.0.1"
    And no host was rebooted

  @real
  Scenario: commctl exits with 1 after a dry run of what would be rejected
    Given the cluster web with the hosts 10.0.0.1 to 10.0.0.3
    And the host 10.0.0.2 loses its power
    When I run `commctl cluster restart start --dry-run web`
    Then the command exits with 1
    And it prints "would_start: false"
    And it says "the restart of web would not start: 1 of 3 hosts cannot be used already"

  Scenario: commctl gives all limits of a rollout
    Given the cluster web with the hosts 10.0.0.1 to 10.0.0.3
    When I run `commctl cluster restart start --max-unavailable 50% --max-failures 2 --soak 1h --settle 2m --order least-recent --strict-units --if-needed --skip-unreachable web`
    Then the command succeeds
    When I request GET /cluster/web/operations
    And I remember 0.id as operation
    And I request GET /operation/$operation
    Then the field options is {"max_unavailable": "50%", "max_failures": 2, "soak": 3600, "settle": 120, "order": "least_recent", "strict_units": true, "if_needed": true, "skip_unreachable": true}
