Feature: Container managers
  A container manager schedules containers on the hosts of a cluster: Kubernetes, OpenShift, or none of either.

  Scenario: A container manager is made, read and deleted
    When I request PUT /containermanager/t with {"type": "trivial"}
    Then the status is 201
    When I request GET /containermanager/t
    Then the answer is {"name": "t", "type": "trivial"}
    When I request GET /containermanagers
    Then the answer says "t"
    When I request DELETE /containermanager/t
    Then the status is 200
    When I request GET /containermanager/t
    Then the status is 404

  Scenario: The token of a Kubernetes is shown to nobody but administrators
    Given I request PUT /containermanager/k with {"type": "kubernetes", "options": {"server_url": "https://api.test", "token": "hidden-token"}}
    When the reader requests GET /containermanager/k
    Then the status is 200
    And the answer does not say "hidden-token"

  Scenario: A container manager of an unknown type is rejected
    When I request PUT /containermanager/m with {"type": "mesos"}
    Then the status is 400

  Scenario: A host of a cluster with a container manager becomes active once it is registered there
    Given I request PUT /containermanager/t with {"type": "trivial"}
    And I request PUT /cluster/web with {"container_manager": "t"}
    And a host 10.0.0.1
    When I request PUT /host/10.0.0.1 with {"cluster": "web"}
    Then the host 10.0.0.1 becomes active
