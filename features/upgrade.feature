Feature: Upgrades
  An upgrade brings the packages, or the OSTree tree, of the hosts of a cluster up to date, a few hosts at a time.
  Hosts with packages are not rebooted unless the upgrade is asked for that.

  Scenario: Hosts with packages are upgraded, and not rebooted
    Given the cluster web with the hosts 10.0.0.1 to 10.0.0.2
    When I request PUT /cluster/web/upgrade
    Then the status is 201
    And the answer is {"name": "web", "status": "in_process", "upgraded": [], "finished_at": null}
    When the upgrade of web becomes finished
    And I request GET /cluster/web/upgrade
    Then the status is 200
    And the answer is {"in_process": [], "upgraded": ["10.0.0.1", "10.0.0.2"], "failures": null, "version": null}
    And 1 upgrade was run on 10.0.0.1
    And 1 upgrade was run on 10.0.0.2
    And no host was rebooted

  Scenario: OSTree hosts are rebooted into the tree that the upgrade has brought
    Given the cluster web with the hosts 10.0.0.1 to 10.0.0.2
    And the hosts 10.0.0.1 to 10.0.0.2 are OSTree hosts for which there is the version 42.1
    When I request PUT /cluster/web/upgrade
    And I remember the operation
    And the upgrade of web becomes finished
    Then the hosts 10.0.0.1 to 10.0.0.2 were rebooted once
    When I request GET /operation/$operation
    Then the field hosts.0.result.tree.after.version is "42.1"

  @real
  Scenario: With reboot: always a host is rebooted after its upgrade
    Given the cluster web with the host 10.0.0.1
    When I request PUT /cluster/web/upgrade with {"reboot": "always"}
    And the upgrade of web becomes finished
    Then the host 10.0.0.1 was rebooted once

  Scenario: With reboot: if-needed only the hosts are rebooted whose upgrade takes effect so
    Given the cluster web with the hosts 10.0.0.1 to 10.0.0.2
    And the upgrade of 10.0.0.1 takes effect with a reboot
    When I request PUT /cluster/web/upgrade with {"reboot": "if-needed"}
    And the upgrade of web becomes finished
    Then the host 10.0.0.1 was rebooted once
    And the host 10.0.0.2 was not rebooted

  Scenario: With reboot: never a host says that it needs a reboot, and gets none
    Given the cluster web with the host 10.0.0.1
    And the upgrade of 10.0.0.1 takes effect with a reboot
    When I request PUT /cluster/web/upgrade with {"reboot": "never"}
    And I remember the operation
    And the upgrade of web becomes finished
    Then the host 10.0.0.1 was not rebooted
    When I request GET /operation/$operation
    Then the field hosts.0.result.reboot_required is true

  Scenario Outline: An upgrade with the option <option>: <value> is rejected
    Given the cluster web with the host 10.0.0.1
    When I request PUT /cluster/web/upgrade with {"<option>": <value>}
    Then the status is 400
    And the field detail has "<option>: <detail>" in it
    And 0 upgrades were run on 10.0.0.1

    Examples:
      | option    | value       | detail                       |
      | if_needed | true        | is an option of a restart    |
      | reboot    | "sometimes" | unknown variant `sometimes`  |
      | reboot    | true        | a word is expected           |

  Scenario: A failed upgrade names its cause, and no further host is upgraded
    Given the cluster web with the hosts 10.0.0.1 to 10.0.0.2
    And the host 10.0.0.1 fails its upgrade
    When I request PUT /cluster/web/upgrade
    And the upgrade of web becomes failed
    And I request GET /cluster/web/upgrade
    Then the answer is {"in_process": ["10.0.0.1"], "upgraded": [], "failures": [{"host": "10.0.0.1", "step": "apply"}]}
    And the field failures.0.reason has "no space left on device" in it
    And 0 upgrades were run on 10.0.0.2

  Scenario: A host whose connection is lost during its upgrade is not upgraded twice
    Given the cluster web with the host 10.0.0.1
    And I request PUT /cluster/web/upgrade
    And I remember the operation
    When the operation $operation is at the step apply on 10.0.0.1
    And 20 seconds pass
    And the host 10.0.0.1 is cut off
    And 2 minutes pass
    And the host 10.0.0.1 answers again
    Then the upgrade of web becomes finished
    And 1 upgrade was run on 10.0.0.1

  Scenario: A host that waits for its package lock says who holds it
    Given the cluster web with the host 10.0.0.1
    And another program holds the package lock of 10.0.0.1
    And I request PUT /cluster/web/upgrade
    And I remember the operation
    When the operation $operation is at the step apply on 10.0.0.1
    And 20 seconds pass
    And I request GET /explain/host/10.0.0.1
    Then the answer is {"reason": "package-lock"}
    And the field sentence has "the package lock is held by apt-get (pid 711)" in it

  @real
  Scenario: commctl upgrades a cluster, and ignores a version that is given as for the original
    Given the cluster web with the hosts 10.0.0.1 to 10.0.0.2
    When I run `commctl cluster upgrade start --wait --reboot always web 7.2.6`
    Then the command succeeds
    And it prints "status: finished"
    And the hosts 10.0.0.1 to 10.0.0.2 were rebooted once
    When I run `commctl cluster upgrade status web`
    Then the command succeeds
    And it prints "upgraded:"
    And it does not print "version"
