Feature: Clusters
  A cluster is a group of hosts that are restarted, upgraded and redeployed together.
  It has a network, and at most one container manager. Its status follows from its hosts.

  @real
  Scenario: A cluster is created with the default network and without a container manager
    When I request PUT /cluster/web with {}
    Then the status is 201
    And the answer is {"name": "web", "status": "", "network": "default", "container_manager": ""}
    When I request GET /cluster/web
    Then the status is 200
    And the answer is {"name": "web", "status": "ok", "network": "default", "container_manager": "", "hostset": [], "hosts": {"total": 0, "available": 0, "unavailable": 0}, "alarm": null}

  @real
  Scenario: A cluster is created with a network and a container manager
    Given I request PUT /network/bare with {"type": "none"}
    And I request PUT /containermanager/t with {"type": "trivial"}
    When I request PUT /cluster/web with {"network": "bare", "container_manager": "t"}
    Then the status is 201
    When I request GET /cluster/web
    Then the answer is {"network": "bare", "container_manager": "t"}

  @real
  Scenario: Clusters are listed by their names
    When I request GET /clusters
    Then the status is 200
    And the answer is []
    Given the cluster web
    And the cluster db
    When I request GET /clusters
    Then the answer is ["db", "web"]

  @real
  Scenario: A cluster that is created again keeps its members
    Given the cluster web with the hosts 10.0.0.1 to 10.0.0.2
    When I request PUT /cluster/web with {"network": "default"}
    Then the status is 201
    When I request GET /cluster/web/hosts
    Then the answer is ["10.0.0.1", "10.0.0.2"]

  @real
  Scenario Outline: A cluster that exists with another <field> is not overwritten
    Given I request PUT /network/bare with {"type": "none"}
    And I request PUT /containermanager/t with {"type": "trivial"}
    And the cluster web with the host 10.0.0.1
    When I request PUT /cluster/web with {"<field>": "<value>"}
    Then the status is 409
    And the field detail is "there is a cluster web with another network or container manager"
    When I request GET /cluster/web
    Then the answer is {"network": "default", "container_manager": "", "hostset": ["10.0.0.1"]}

    Examples:
      | field             | value |
      | network           | bare  |
      | container_manager | t     |

  @real
  Scenario: An unknown network stands for the default one
    When I request PUT /cluster/web with {"network": "nowhere"}
    Then the status is 201
    And the answer is {"network": "default"}

  @real
  Scenario: A cluster with an unknown container manager is rejected
    When I request PUT /cluster/web with {"container_manager": "nowhere"}
    Then the status is 409
    And the field detail is "there is no container manager \"nowhere\""
    When I request GET /clusters
    Then the answer is []

  @real
  Scenario: Status and members in the request are ignored
    Given the registered host 10.0.0.1
    When I request PUT /cluster/web with {"status": "failed", "hostset": ["10.0.0.1"]}
    Then the status is 201
    When I request GET /cluster/web
    Then the answer is {"status": "ok", "hostset": []}

  @real
  Scenario Outline: A cluster whose <field> is <value> is rejected
    When I request PUT /cluster/web with {"<field>": <value>}
    Then the status is 400
    And the field detail is "<field>: invalid type: <what>, expected a string"
    When I request GET /cluster/web
    Then the status is 404

    Examples:
      | field             | value | what   |
      | network           | null  | null   |
      | container_manager | null  | null   |
      | container_manager | []    | a list |

  @real
  Scenario: The hosts of a deleted cluster stay, and may join another one
    Given the cluster web with the host 10.0.0.1
    And the cluster db
    When I request DELETE /cluster/web
    Then the status is 200
    And the answer is []
    When I request GET /cluster/web
    Then the status is 404
    When I request GET /host/10.0.0.1
    Then the answer is {"status": "disassociated"}
    When I request PUT /cluster/db/hosts/10.0.0.1
    Then the status is 200

  @real
  Scenario Outline: There is no cluster to <method>
    When I request <method> /cluster/web
    Then the status is 404
    And the field detail is "there is no cluster web"

    Examples:
      | method |
      | GET    |
      | DELETE |

  @real
  Scenario: A cluster is not deleted during an operation
    Given the cluster web with the hosts 10.0.0.1 to 10.0.0.2
    And I request PUT /cluster/web/restart
    When I request DELETE /cluster/web
    Then the status is 409
    And the field detail is "an operation is in process on the cluster web: wait until it has ended"
    When the restart of web becomes finished
    And I request DELETE /cluster/web
    Then the status is 200

  @real
  Scenario: A cluster with a lost host is degraded, until the host is back
    Given the cluster web with the hosts 10.0.0.1 to 10.0.0.2
    And the host 10.0.0.1 loses its power
    And the host 10.0.0.1 becomes failed
    When I request GET /cluster/web
    Then the answer is {"status": "degraded", "hosts": {"total": 2, "available": 1, "unavailable": 1}}
    When the host 10.0.0.1 comes back
    And the host 10.0.0.1 becomes disassociated
    And I request GET /cluster/web
    Then the answer is {"status": "ok", "hosts": {"total": 2, "available": 2, "unavailable": 0}}

  @real
  Scenario: A cluster without an available host is failed
    Given the cluster web with the host 10.0.0.1
    And the host 10.0.0.1 loses its power
    And the host 10.0.0.1 becomes failed
    When I request GET /cluster/web
    Then the answer is {"status": "failed", "hosts": {"total": 1, "available": 0, "unavailable": 1}}

  Scenario: While many hosts are lost at once, an alarm lasts and their statuses do not change
    Given the cluster web with the hosts 10.0.0.1 to 10.0.0.4
    When the hosts 10.0.0.1 to 10.0.0.3 are cut off
    And 10 minutes pass
    And I request GET /cluster/web
    Then the answer is {"status": "ok", "hosts": {"total": 4, "available": 4, "unavailable": 0}}
    And the field alarm.reason has "hosts of the fleet became unreachable" in it
    When the hosts 10.0.0.1 to 10.0.0.3 answer again
    And 10 minutes pass
    And I request GET /cluster/web
    Then the answer is {"status": "ok", "alarm": null}
