Feature: Members
  A host is in one cluster at most. Hosts join and leave one by one, or all members of a cluster are replaced at once.

  Background:
    Given the cluster web
    And the registered hosts 10.0.0.1 to 10.0.0.3

  @real
  Scenario: A host joins a cluster and leaves it
    When I request PUT /cluster/web/hosts/10.0.0.1 with {}
    Then the status is 200
    And the answer is ["10.0.0.1"]
    When I request GET /cluster/web/hosts/10.0.0.1
    Then the status is 200
    And the answer is ["10.0.0.1"]
    When I request DELETE /cluster/web/hosts/10.0.0.1
    Then the status is 200
    And the answer is []
    When I request GET /cluster/web/hosts/10.0.0.1
    Then the status is 404
    And the field detail is "10.0.0.1 is no member of the cluster web"

  @real
  Scenario: Joining again and leaving again change nothing
    Given I request PUT /cluster/web/hosts/10.0.0.1
    When I request PUT /cluster/web/hosts/10.0.0.1
    Then the status is 200
    When I request GET /cluster/web/hosts
    Then the answer is ["10.0.0.1"]
    When I request DELETE /cluster/web/hosts/10.0.0.1
    And I request DELETE /cluster/web/hosts/10.0.0.1
    Then the status is 200
    And the answer is []

  @real
  Scenario: Members are listed by their addresses
    Given I request PUT /cluster/web/hosts/10.0.0.2
    And I request PUT /cluster/web/hosts/10.0.0.1
    When I request GET /cluster/web/hosts
    Then the status is 200
    And the answer is ["10.0.0.1", "10.0.0.2"]

  @real
  Scenario Outline: <method> <path> names something that does not exist
    When I request <method> <path> with <body>
    Then the status is 404
    And the field detail is "there is no <what>"

    Examples:
      | method | path                        | body                             | what          |
      | PUT    | /cluster/db/hosts/10.0.0.1  | {}                               | cluster db    |
      | DELETE | /cluster/db/hosts/10.0.0.1  | {}                               | cluster db    |
      | PUT    | /cluster/db/hosts           | {"old": [], "new": []}           | cluster db    |
      | PUT    | /cluster/web/hosts/10.9.9.9 | {}                               | host 10.9.9.9 |
      | PUT    | /cluster/web/hosts          | {"old": [], "new": ["10.9.9.9"]} | host 10.9.9.9 |

  @real
  Scenario Outline: The members of a cluster that does not exist cannot be read: <path>
    When I request GET <path>
    Then the status is 404
    And the field detail is "there is no cluster db"

    Examples:
      | path                       |
      | /cluster/db/hosts          |
      | /cluster/db/hosts/10.0.0.1 |

  Scenario Outline: A host that is not ready does not join: PUT <path>
    Given a host 10.0.0.9 that is down
    And I request PUT /host/10.0.0.9
    And the host 10.0.0.9 becomes failed
    When I request PUT <path> with <body>
    Then the status is 405
    And the field detail is "the host 10.0.0.9 is not ready, but failed: see its status"
    When I request GET /cluster/web/hosts
    Then the answer is []

    Examples:
      | path                        | body                                         |
      | /cluster/web/hosts/10.0.0.9 | {}                                           |
      | /cluster/web/hosts          | {"old": [], "new": ["10.0.0.1", "10.0.0.9"]} |

  @real
  Scenario Outline: A host is in one cluster only: PUT <path>
    Given the cluster db
    And I request PUT /cluster/db/hosts/10.0.0.1
    When I request PUT <path> with <body>
    Then the status is 409
    And the field detail is "the host 10.0.0.1 is a member of db"
    When I request GET /cluster/web/hosts
    Then the answer is []

    Examples:
      | path                        | body                                         |
      | /cluster/web/hosts/10.0.0.1 | {}                                           |
      | /cluster/web/hosts          | {"old": [], "new": ["10.0.0.1", "10.0.0.2"]} |

  @real
  Scenario: All members are replaced by one request
    Given I request PUT /cluster/web/hosts with {"old": [], "new": ["10.0.0.1", "10.0.0.2"]}
    When I request PUT /cluster/web/hosts with {"old": ["10.0.0.2", "10.0.0.1"], "new": ["10.0.0.3", "10.0.0.2"]}
    Then the status is 200
    And the answer is {"name": "web", "network": "default", "hostset": ["10.0.0.2", "10.0.0.3"]}
    When I request GET /cluster/web/hosts
    Then the answer is ["10.0.0.2", "10.0.0.3"]

  @real
  Scenario: Members are not replaced if they are others than the request says
    Given I request PUT /cluster/web/hosts/10.0.0.1
    When I request PUT /cluster/web/hosts with {"old": ["10.0.0.2"], "new": []}
    Then the status is 409
    And the field detail is "`old` is not what the members are now: read them and decide again"
    When I request GET /cluster/web/hosts
    Then the answer is ["10.0.0.1"]

  @real
  Scenario: A host that is named twice is a member once
    When I request PUT /cluster/web/hosts with {"old": [], "new": ["10.0.0.1", "10.0.0.1"]}
    Then the status is 200
    And the field hostset is ["10.0.0.1"]

  @real
  Scenario Outline: A replacement with <mistake> is rejected
    Given I request PUT /cluster/web/hosts/10.0.0.1
    When I request PUT /cluster/web/hosts with <body>
    Then the status is 400
    And the field detail has "<words>" in it
    When I request GET /cluster/web/hosts
    Then the answer is ["10.0.0.1"]

    Examples:
      | mistake                  | body                              | words                |
      | no old members           | {"new": []}                       | missing field `old`  |
      | no new members           | {"old": ["10.0.0.1"]}             | missing field `new`  |
      | a text instead of a list | {"old": "10.0.0.1", "new": []}    | old: invalid type    |
      | a number in the list     | {"old": ["10.0.0.1"], "new": [1]} | new[0]: invalid type |

  @real
  Scenario Outline: The body of a request names the same <what> as the path, or none
    When I request PUT /cluster/web/hosts/10.0.0.1 with {"<field>": "<value>"}
    Then the status is 400
    And the field detail has "but the body's `<field>` says" in it
    When I request GET /cluster/web/hosts
    Then the answer is []

    Examples:
      | what    | field | value    |
      | cluster | name  | db       |
      | host    | host  | 10.0.0.2 |

  @real
  Scenario: A host that has failed leaves its cluster, and stays failed
    Given I request PUT /cluster/web/hosts/10.0.0.1
    And the host 10.0.0.1 loses its power
    And the host 10.0.0.1 becomes failed
    When I request DELETE /cluster/web/hosts/10.0.0.1
    Then the status is 200
    When I request GET /host/10.0.0.1
    Then the answer is {"status": "failed"}
