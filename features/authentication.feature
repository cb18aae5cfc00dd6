Feature: Authentication
  Every request names its user: by user name and password, by a client certificate, or by a token.
  Requests without valid credentials are rejected, whatever they ask for, and say nothing about the fleet.

  @real
  Scenario: A user with the right password is accepted
    When admin with the password "secret" requests GET /whoami
    Then the status is 200
    And the answer is {"name": "admin", "role": "admin", "authenticator": "password", "groups": [], "until": null}

  @real
  Scenario Outline: A request with <credentials> is rejected
    When <user> with the password "<password>" requests GET /clusters
    Then the status is 403
    And the answer is {"title": "Forbidden", "status": 403, "detail": "give a user name and password, or a token, that this server knows"}

    Examples:
      | credentials         | user    | password |
      | a wrong password    | admin   | wrong    |
      | an empty password   | admin   |          |
      | an unknown user     | mallory | secret   |
      | a user in capitals  | Admin   | secret   |

  @real
  Scenario Outline: Malformed credentials are rejected like wrong ones: <header>
    Given the header Authorization is <header>
    When a stranger requests GET /clusters
    Then the status is 403
    And the field detail is "give a user name and password, or a token, that this server knows"

    Examples:
      | header                 |
      | Basic                  |
      | Basic !!!              |
      | Basic YWRtaW4=         |
      | Basic /////w==         |
      | Digest username="admin" |

  @real
  Scenario Outline: A request without credentials is rejected, whether there is something at its path or not: <method> <path>
    When a stranger requests <method> <path>
    Then the status is 403
    And the answer does not say "web"

    Examples:
      | method | path         |
      | GET    | /clusters    |
      | GET    | /whoami      |
      | PUT    | /cluster/web |
      | DELETE | /clusters    |
      | GET    | /nothing     |
      | GET    | /metrics     |

  @real
  Scenario: A rejected change is not carried out
    When a stranger requests PUT /cluster/web with {}
    And I request GET /cluster/web
    Then the status is 404

  Scenario: The owner of a configured client certificate needs no password
    When the owner of the certificate "monitoring" requests GET /whoami
    Then the status is 200
    And the answer is {"name": "certificate:Example CA/monitoring", "role": "reader", "authenticator": "certificate"}

  Scenario: A client certificate has only the role that is configured for it
    When the owner of the certificate "monitoring" requests PUT /cluster/web
    Then the status is 403
    And the field detail has "needs the role operator" in it

  Scenario: A client certificate with another name is rejected
    When the owner of the certificate "admin" requests GET /clusters
    Then the status is 403
    And the field title is Forbidden

  @real
  Scenario: A bearer token that is not accepted is a 401, so that its client renews it
    When the owner of the token unknown requests GET /clusters
    Then the status is 401
    And the field title is Unauthorized

  Scenario: After too many wrong passwords, log-ins of that user are refused until the minute is over
    Given 130 log-ins of operator with a wrong password
    When the operator requests GET /clusters
    Then the status is 429
    And the field detail has "too many failed log-ins from this address" in it
    When 1 minute passes
    And the operator requests GET /clusters
    Then the status is 200

  @real
  Scenario: Wrong passwords do not lock out a user whose password was verified before
    Given the operator requests GET /clusters
    And the operator requests GET /clusters
    And 130 log-ins of operator with a wrong password
    When the operator requests GET /clusters
    Then the status is 200

  @real
  Scenario: Wrong passwords of one user do not lock out another one
    Given 130 log-ins of operator with a wrong password
    When the reader requests GET /clusters
    Then the status is 200

  @real
  Scenario Outline: A request that a page of another site makes is rejected: <header>
    Given the header <header> is <value>
    When I request GET /clusters
    Then the status is 403
    And the field detail has "cross-site request" in it

    Examples:
      | header         | value                |
      | Origin         | https://evil.example |
      | Sec-Fetch-Site | cross-site           |

  @real
  Scenario: A request that a page of the server itself makes is accepted
    Given the header Origin is https://commissaire
    When I request GET /clusters
    Then the status is 200
    And the answer is []
