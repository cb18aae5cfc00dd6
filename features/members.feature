Feature: Members
  A host is in one cluster at most; all hosts of a cluster can be replaced at once.

  Background:
    Given the cluster web
    And the registered hosts 10.0.0.1 to 10.0.0.2

  Scenario: A host joins a cluster and leaves it
    When I request PUT /cluster/web/hosts/10.0.0.1 with {}
    Then the status is 200
    When I request GET /cluster/web/hosts/10.0.0.1
    Then the status is 200
    When I request DELETE /cluster/web/hosts/10.0.0.1
    Then the status is 200
    When I request GET /cluster/web/hosts/10.0.0.1
    Then the status is 404

  Scenario: The members are replaced if they are as the request says
    When I request PUT /cluster/web/hosts with {"old": [], "new": ["10.0.0.1", "10.0.0.2"]}
    Then the status is 200
    When I request GET /cluster/web/hosts
    Then the answer is ["10.0.0.1", "10.0.0.2"]
    When I request PUT /cluster/web/hosts with {"old": ["10.0.0.1"], "new": []}
    Then the status is 409
    When I request GET /cluster/web/hosts
    Then the answer is ["10.0.0.1", "10.0.0.2"]

  Scenario: A host is in one cluster only
    Given the cluster db
    And I request PUT /cluster/web/hosts/10.0.0.1 with {}
    When I request PUT /cluster/db/hosts/10.0.0.1 with {}
    Then the status is 409
