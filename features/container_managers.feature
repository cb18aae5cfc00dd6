@real
Feature: Container managers
  A container manager schedules containers on the hosts of a cluster: Kubernetes or OpenShift.
  One of the type trivial schedules nothing, and is for tests.

  Scenario: A container manager is created, read and deleted
    When I request PUT /containermanager/t with {"type": "trivial", "options": {"colour": "blue"}}
    Then the status is 201
    And the answer is {"name": "t", "type": "trivial", "options": {"colour": "blue"}}
    When I request GET /containermanager/t
    Then the status is 200
    And the answer is {"name": "t", "type": "trivial", "options": {"colour": "blue"}}
    When I request DELETE /containermanager/t
    Then the status is 200
    And the answer is []
    When I request GET /containermanager/t
    Then the status is 404
    And the field detail is "there is no container manager t"

  Scenario: Container managers are listed by their names
    When I request GET /containermanagers
    Then the status is 200
    And the answer is []
    Given I request PUT /containermanager/t2 with {"type": "trivial"}
    And I request PUT /containermanager/t1 with {"type": "trivial"}
    When I request GET /containermanagers
    Then the answer is ["t1", "t2"]

  Scenario: A container manager without a type is an OpenShift
    When I request PUT /containermanager/o with {"options": {"server_url": "https://api.test"}}
    Then the status is 201
    And the field type is openshift

  Scenario: The same container manager may be created again
    Given I request PUT /containermanager/t with {"type": "trivial", "options": {"token": "hidden"}}
    When I request PUT /containermanager/t with {"type": "trivial", "options": {"token": "hidden"}}
    Then the status is 201

  Scenario Outline: A container manager that exists with <what> is not overwritten
    Given I request PUT /containermanager/t with {"type": "trivial", "options": {"colour": "blue", "token": "hidden"}}
    When I request PUT /containermanager/t with <body>
    Then the status is 409
    And the field detail is "there is a container manager t with another type or other options: delete it first"
    When I request GET /containermanager/t
    Then the answer is {"type": "trivial", "options": {"colour": "blue", "token": "********"}}

    Examples:
      | what           | body                                                                  |
      | another type   | {"type": "kubernetes", "options": {"server_url": "https://api.test"}} |
      | another option | {"type": "trivial", "options": {"colour": "red", "token": "hidden"}}  |
      | another secret | {"type": "trivial", "options": {"colour": "blue", "token": "other"}}  |

  Scenario Outline: The option <option> is a secret, and reads back as a mask
    When I request PUT /containermanager/t with {"type": "trivial", "options": {"<option>": "hidden-secret"}}
    Then the status is 201
    And the answer is {"options": {"<option>": "********"}}
    And the answer does not say "hidden-secret"
    When the reader requests GET /containermanager/t
    Then the answer is {"options": {"<option>": "********"}}
    When I request PUT /containermanager/t with {"type": "trivial", "options": {"<option>": "********"}}
    Then the status is 201

    Examples:
      | option   |
      | token    |
      | password |

  Scenario Outline: A container manager with <mistake> is rejected
    When I request PUT /containermanager/m with <body>
    Then the status is 400
    And the field detail has "<words>" in it
    When I request GET /containermanagers
    Then the answer is []

    Examples:
      | mistake                     | body                                                  | words                                                   |
      | an unknown type             | {"type": "mesos"}                                     | type: unknown variant `mesos`                           |
      | a mask in place of a secret | {"type": "trivial", "options": {"token": "********"}} | stands for a secret that is stored already, and none is |

  Scenario: A container manager stays as long as a cluster uses it
    Given I request PUT /containermanager/t with {"type": "trivial"}
    And I request PUT /cluster/web with {"container_manager": "t"}
    When I request DELETE /containermanager/t
    Then the status is 409
    And the field detail is "the container manager t is in use by web"
    When I request DELETE /cluster/web
    And I request DELETE /containermanager/t
    Then the status is 200

  Scenario: There is no container manager to delete
    When I request DELETE /containermanager/t
    Then the status is 404
    And the field detail is "there is no container manager t"

  Scenario: commctl gives options as KEY=VALUE
    When I run `commctl container_manager create -t kubernetes -o server_url=https://api.test -o create_nodes=false -o max_unavailable=2 k`
    Then the command succeeds
    When I request GET /containermanager/k
    Then the answer is {"type": "kubernetes", "options": {"create_nodes": "false", "max_unavailable": "2"}}

  Scenario: A container manager may be for some clusters only
    Given I request PUT /containermanager/t with {"type": "trivial", "clusters": ["web-*"]}
    When I request PUT /cluster/web-1 with {"container_manager": "t"}
    Then the status is 201
    When I request PUT /cluster/db with {"container_manager": "t"}
    Then the status is 409
    And the field detail is "the container manager t serves the clusters web-*"

  Scenario: A host is active while it is in a cluster with a container manager
    Given I request PUT /containermanager/t with {"type": "trivial"}
    And I request PUT /cluster/web with {"container_manager": "t"}
    And the registered host 10.0.0.1
    When I request PUT /cluster/web/hosts/10.0.0.1
    Then the status is 200
    And the host 10.0.0.1 becomes active
    When I request GET /cluster/web
    Then the answer is {"status": "ok", "hosts": {"total": 1, "available": 1, "unavailable": 0}}
    When I request GET /host/10.0.0.1/status
    Then the answer is {"type": "host_only", "host": {"status": "active"}, "container_manager": {"node": "10.0.0.1", "status": "ok"}}
    When I request DELETE /cluster/web/hosts/10.0.0.1
    Then the host 10.0.0.1 becomes disassociated
    When I request GET /host/10.0.0.1/status
    Then the answer is {"host": {"status": "disassociated"}, "container_manager": {"node": null, "status": null}}
