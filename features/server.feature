@real
Feature: The server
  What the server says about itself, and how it rejects requests that make no sense.
  Errors are JSON documents with a title, the status, and a sentence that says what is wrong.

  Scenario: Anybody may ask whether the server lives
    When a stranger requests GET /healthz
    Then the status is 200
    And the answer is {"status": "ok"}

  Scenario: Anybody may ask whether the server is ready
    Given 10 seconds pass
    When a stranger requests GET /readyz
    Then the status is 200
    And the answer is {"status": "ready", "degraded": [], "services": null, "alarms": null, "parts": {"broker": "ok", "storage": "ok", "store": "ok", "store_write": "ok", "audit_log": "ok"}}

  Scenario: The details of readiness need a log-in
    When a stranger requests GET /readyz/?verbose
    Then the status is 403
    And the answer does not say "replica"

  Scenario: A reader sees the running services
    Given 10 seconds pass
    When the reader requests GET /readyz/?verbose
    Then the status is 200
    And the answer is {"status": "ready", "degraded": [], "alarms": []}
    And the answer says ""service":"clusterexec""
    And the answer says ""service":"investigator""
    And the answer says ""service":"storage""
    And the answer says ""service":"watcher""

  Scenario: A reader sees what is counted
    Given 2 log-ins of mallory with a wrong password
    When the reader requests GET /metrics
    Then the status is 200
    And the answer says "# TYPE commissaire_http_requests_total counter"
    And the answer says "commissaire_auth_failures_total"
    And the answer says "commissaire_build_info{version="
    And the answer does not say "mallory"

  Scenario: Anybody may read the documentation of the API
    When a stranger requests GET /docs
    Then the status is 200
    And the answer says "<title>Commissaire</title>"
    And the answer says "/api/v0/cluster/{name}/restart"

  Scenario: Anybody may read the OpenAPI document
    When a stranger requests GET /api/v0/openapi.json
    Then the status is 200
    And the field info.title is Commissaire
    And the answer says ""/api/v0/cluster/{name}/restart""

  Scenario: Anybody may ask how to log in
    When a stranger requests GET /login
    Then the status is 200
    And the answer is {"password": true, "providers": []}

  Scenario Outline: HEAD answers as GET does, without a body: <path>
    When I request HEAD <path>
    Then the status is <status>
    And the answer has no body

    Examples:
      | path         | status |
      | /healthz     | 200    |
      | /clusters    | 200    |
      | /whoami      | 200    |
      | /cluster/web | 404    |

  Scenario Outline: There is nothing at <path>
    When I request GET <path>
    Then the status is 404
    And the answer is {"title": "Not Found", "status": 404, "detail": "there is nothing at this path"}

    Examples:
      | path              |
      | /nothing          |
      | /Clusters         |
      | //clusters        |
      | /clusters//       |
      | /api/v1/clusters  |
      | /cluster/a.b      |
      | /cluster/a%20b    |
      | /host/-a          |

  Scenario: One slash at the end of a path makes no difference
    Given the cluster web
    When I request GET /clusters/
    Then the status is 200
    And the answer is ["web"]

  Scenario Outline: A method that a path does not have is rejected: <method> <path>
    When I request <method> <path>
    Then the status is 405
    And the field title is "Method Not Allowed"

    Examples:
      | method | path               |
      | DELETE | /clusters          |
      | POST   | /cluster/web       |
      | PUT    | /hosts             |
      | POST   | /host/10.0.0.1     |
      | DELETE | /backup            |
      | PUT    | /tokens            |

  Scenario Outline: A body that is <what> is rejected
    When I request PUT /cluster/web with <body>
    Then the status is 400
    And the field title is "Bad Request"
    And the field detail has "<words>" in it
    When I request GET /clusters
    Then the answer is []

    Examples:
      | what                     | body                           | words                        |
      | cut off                  | {"network":                    | the body is not JSON         |
      | no JSON                  | network=default                | the body is not JSON         |
      | a list                   | []                             | the body is not a JSON object |
      | null                     | null                           | the body is not a JSON object |
      | a number                 | 4711                           | the body is not a JSON object |
      | a text                   | "web"                          | the body is not a JSON object |
      | with a field of a wrong type | {"network": 1}             | network                      |
      | about another cluster    | {"name": "db"}                 | name                         |
      | with a misspelt field    | {"netwrok": "default"}         | network                      |

  Scenario: An empty body is one without fields
    When I request PUT /cluster/web
    Then the status is 201
    And the answer is {"name": "web", "network": "default"}

  Scenario: Unknown fields are ignored
    When I request PUT /cluster/web with {"type": "kubernetes", "colour": "blue"}
    Then the status is 201
    And the answer is {"name": "web", "colour": null}

  Scenario: A body of more than 1 MiB is rejected
    When I send a body of 1048577 bytes to PUT /cluster/web
    Then the status is 413
    And the field detail is "the body is larger than 1048576 bytes"
    When I request GET /clusters
    Then the answer is []

  Scenario: A body of 1 MiB is accepted
    When I send a body of 1048576 bytes to PUT /cluster/web
    Then the status is 201

  Scenario: A query does not override the path
    When I request PUT /cluster/web?name=db with {}
    Then the status is 201
    And the field name is web

  Scenario Outline: Without Custodia there are no secrets: <method> <path>
    When I request <method> <path>
    Then the status is 404
    And the field detail is "there is nothing at this path"

    Examples:
      | method | path            |
      | GET    | /secrets        |
      | GET    | /secrets/a      |
      | PUT    | /secrets/a      |
      | POST   | /secrets/a      |
      | DELETE | /secrets/a      |
