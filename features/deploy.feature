Feature: Deployments
  A deployment has the hosts of a cluster boot a version of their OSTree tree, a few hosts at a time.
  A host is done only when that version is what it has booted.

  Scenario: The hosts of a cluster boot the deployed version
    Given the cluster web with the hosts 10.0.0.1 to 10.0.0.2
    And the hosts 10.0.0.1 to 10.0.0.2 are OSTree hosts for which there is the version 42.1
    When I request PUT /cluster/web/deploy with {"version": "42.1"}
    Then the status is 201
    And the answer is {"name": "web", "version": "42.1", "status": "in_process", "deployed": [], "finished_at": null}
    When I remember the operation
    And the deploy of web becomes finished
    And I request GET /cluster/web/deploy
    Then the status is 200
    And the answer is {"version": "42.1", "in_process": [], "deployed": ["10.0.0.1", "10.0.0.2"], "failures": null}
    And the hosts 10.0.0.1 to 10.0.0.2 were rebooted once
    And never more than 1 host was down at once
    When I request GET /operation/$operation
    Then the answer is {"kind": "deploy", "version": "42.1"}

  Scenario: A host that runs the version already is not rebooted
    Given the cluster web with the hosts 10.0.0.1 to 10.0.0.2
    And the hosts 10.0.0.1 to 10.0.0.2 are OSTree hosts for which there is the version 42.1
    And the host 10.0.0.1 runs the version 42.1 already
    When I request PUT /cluster/web/deploy with {"version": "42.1"}
    And the deploy of web becomes finished
    And I request GET /cluster/web/deploy
    Then the field deployed is ["10.0.0.1", "10.0.0.2"]
    And the host 10.0.0.1 was not rebooted
    And the host 10.0.0.2 was rebooted once

  Scenario: A host that boots its former version fails the deployment
    Given the cluster web with the hosts 10.0.0.1 to 10.0.0.2
    And the hosts 10.0.0.1 to 10.0.0.2 are OSTree hosts for which there is the version 42.1
    And the host 10.0.0.1 boots its former version again
    When I request PUT /cluster/web/deploy with {"version": "42.1"}
    And the deploy of web becomes failed
    And I request GET /cluster/web/deploy
    Then the answer is {"deployed": [], "failures": [{"host": "10.0.0.1", "step": "verify"}]}
    And the field failures.0.reason has "42.1 is not what it has booted" in it
    And the host 10.0.0.2 was not rebooted

  @real
  Scenario: A host without OSTree fails the deployment, and is not rebooted
    Given the cluster web with the host 10.0.0.1
    When I request PUT /cluster/web/deploy with {"version": "42.1"}
    And the deploy of web becomes failed
    And I request GET /cluster/web/deploy
    Then the answer is {"version": "42.1", "failures": [{"host": "10.0.0.1"}]}
    And the field failures.0.reason has "10.0.0.1 is no OSTree host" in it
    And no host was rebooted

  @real
  Scenario Outline: A deployment with the body <body> is rejected
    Given the cluster web with the host 10.0.0.1
    When I request PUT /cluster/web/deploy with <body>
    Then the status is 400
    And the field detail has "version" in it
    When I request GET /cluster/web/deploy
    Then the status is 404

    Examples:
      | body                 |
      | {}                   |
      | {"version": ""}      |
      | {"version": 42}      |
      | {"version": null}    |
      | {"version": "a b"}   |
      | {"version": "-f"}    |

  Scenario: The record shows the newest deployment, and the history all of them
    Given the cluster web with the host 10.0.0.1
    And the host 10.0.0.1 is an OSTree host for which there is the version 41.2
    And I request PUT /cluster/web/deploy with {"version": "41.2"}
    And the deploy of web becomes finished
    And the host 10.0.0.1 is an OSTree host for which there is the version 42.1
    And I request PUT /cluster/web/deploy with {"version": "42.1"}
    And the deploy of web becomes finished
    When I request GET /cluster/web/deploy
    Then the answer is {"version": "42.1"}
    When I request GET /cluster/web/operations
    Then the answer is [{"kind": "deploy", "version": "42.1"}, {"kind": "deploy", "version": "41.2"}]

  Scenario: commctl deploys a version, and waits until all hosts have booted it
    Given the cluster web with the hosts 10.0.0.1 to 10.0.0.2
    And the hosts 10.0.0.1 to 10.0.0.2 are OSTree hosts for which there is the version 42.1
    When I run `commctl cluster deploy start --wait web 42.1`
    Then the command succeeds
    And it prints "status: finished"
    When I run `commctl cluster deploy status web`
    Then the command succeeds
    And it prints "version: "
    And it prints "42.1"

  @real
  Scenario: commctl exits with 1 after a deployment that has failed
    Given the cluster web with the host 10.0.0.1
    When I run `commctl cluster deploy start --wait web 42.1`
    Then the command exits with 1
    And it says "is no OSTree host"
    And it prints "status: failed"

  @real
  Scenario: commctl says that cluster and version were swapped
    Given the cluster web with the host 10.0.0.1
    When I run `commctl cluster deploy start 42.1 web`
    Then the command exits with 1
    And it says "the name of the cluster comes first: commctl cluster deploy start web 42.1"
