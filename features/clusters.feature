Feature: Clusters
  A cluster is a group of hosts that are restarted, upgraded and redeployed together.

  Scenario: A cluster is created, read and deleted
    When I request PUT /cluster/web with {}
    Then the status is 201
    And the answer is {"name": "web", "network": "default"}
    When I request GET /clusters
    Then the answer is ["web"]
    When I request DELETE /cluster/web
    Then the status is 200
    When I request GET /cluster/web
    Then the status is 404

  Scenario: A cluster is restarted one host at a time
    Given the cluster web with the hosts 10.0.0.1 to 10.0.0.3
    When I run `commctl cluster restart start --wait web`
    Then the command succeeds
    And the hosts 10.0.0.1 to 10.0.0.3 were rebooted once
    And never more than 1 host was down at once
