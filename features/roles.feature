@real
Feature: Roles
  A reader sees, an operator works on hosts and clusters, an administrator also configures.
  The roles backup and enroll are for one thing each.

  Background:
    Given the cluster web with the host 10.0.0.1

  Scenario Outline: The role <role> may <method> <path>
    When the <role> requests <method> <path> with <body>
    Then the status is <status>

    Examples:
      | role     | method | path                          | body                                                                                | status |
      | operator | PUT    | /cluster/shop                 | {}                                                                                  | 201    |
      | operator | DELETE | /cluster/web/hosts/10.0.0.1   | {}                                                                                  | 200    |
      | operator | PUT    | /cluster/web/restart          | {}                                                                                  | 201    |
      | operator | POST   | /host/10.0.0.1/investigate    | {}                                                                                  | 202    |
      | operator | DELETE | /host/10.0.0.1                | {}                                                                                  | 200    |
      | operator | PUT    | /freeze                       | {}                                                                                  | 201    |
      | operator | POST   | /tokens                       | {"name": "t", "role": "operator", "clusters": ["*"]}                                | 201    |
      | reader   | POST   | /tokens                       | {"name": "t", "role": "reader", "clusters": ["*"]}                                  | 201    |
      | admin    | PUT    | /containermanager/k           | {"type": "trivial"}                                                                 | 201    |
      | admin    | PUT    | /network/blue                 | {"type": "none"}                                                                    | 201    |
      | admin    | PUT    | /healthcheck/web              | {"command": "true"}                                                                 | 201    |
      | admin    | PUT    | /binding/ann                  | {"kind": "user", "subject": "ann", "role": "reader", "clusters": ["*"]}             | 201    |
      | admin    | POST   | /enrollments                  | {}                                                                                  | 201    |

  Scenario Outline: The role <role> may GET <path>
    When the <role> requests GET <path>
    Then the status is 200

    Examples:
      | role     | path                    |
      | reader   | /clusters               |
      | reader   | /cluster/web            |
      | reader   | /hosts                  |
      | reader   | /host/10.0.0.1/status   |
      | reader   | /networks               |
      | reader   | /freeze                 |
      | reader   | /publickey              |
      | reader   | /metrics                |
      | admin    | /host/10.0.0.1/creds    |
      | backup   | /healthz                |

  Scenario Outline: The role <role> may not <method> <path>, which needs <needed>
    When the <role> requests <method> <path> with {}
    Then the status is 403
    And the field detail is "this needs the role <needed>, and <role> has the role <role>"

    Examples:
      | role     | method | path                         | needed   |
      | reader   | PUT    | /cluster/shop                | operator |
      | reader   | DELETE | /cluster/web                 | operator |
      | reader   | PUT    | /cluster/web/restart         | operator |
      | reader   | PUT    | /cluster/web/hosts/10.0.0.1  | operator |
      | reader   | PUT    | /host/10.0.0.2               | operator |
      | reader   | DELETE | /host/10.0.0.1               | operator |
      | reader   | PUT    | /freeze                      | operator |
      | reader   | POST   | /enrollments                 | admin    |
      | operator | PUT    | /containermanager/k          | admin    |
      | operator | PUT    | /network/blue                | admin    |
      | operator | DELETE | /network/default             | admin    |
      | operator | PUT    | /host/10.0.0.1/creds         | admin    |
      | operator | POST   | /enrollments                 | admin    |
      | operator | PUT    | /binding/ann                 | admin    |
      | operator | POST   | /bindings/accept             | admin    |
      | operator | PUT    | /healthcheck/web             | admin    |
      | backup   | PUT    | /cluster/shop                | operator |

  Scenario Outline: The role <role> may not read <path>, which needs <needed>
    When the <role> requests GET <path>
    Then the status is 403
    And the field detail is "this needs the role <needed>, and <role> has the role <role>"

    Examples:
      | role     | path                 | needed |
      | reader   | /host/10.0.0.1/creds | admin  |
      | reader   | /enrollments         | admin  |
      | reader   | /bindings            | admin  |
      | operator | /host/10.0.0.1/creds | admin  |
      | operator | /enrollments         | admin  |
      | operator | /bindings            | admin  |
      | backup   | /hosts               | reader |
      | backup   | /whoami              | reader |

  Scenario Outline: The role enroll may not <method> <path>
    When the enroll requests <method> <path>
    Then the status is 403
    And the field detail is "the role enroll may register hosts, and nothing else"

    Examples:
      | method | path           |
      | GET    | /hosts         |
      | DELETE | /host/10.0.0.1 |
      | GET    | /whoami        |
      | PUT    | /cluster/shop  |

  Scenario: The role enroll registers hosts
    Given a host 10.0.0.2
    When the enroll requests PUT /host/10.0.0.2 with {"cluster": "web"}
    Then the status is 201
    And the field address is 10.0.0.2

  Scenario: A user sees its role
    When an operator runs `commctl whoami`
    Then the command succeeds
    And it prints:
      """
      authenticator: password
      groups: []
      name: operator
      rights:
      - clusters:
        - '*'
        role: operator
        run_commands: false
      role: operator
      until: null
      """

  Scenario: commctl says which role a user lacks
    When a reader runs `commctl cluster delete web`
    Then the command exits with 1
    And it says "this needs the role operator, and reader has the role reader (403 Forbidden)"
    And it prints nothing
