Feature: API tokens
  A token lets a program act for a user, with a part of the user's rights, for a limited time.
  The program sends it as a bearer token, or as the password of the user "token".

  Background:
    Given the cluster web
    And the cluster db

  @real
  Scenario: A token acts for its owner, on its clusters
    Given the operator requests POST /tokens with {"name": "deploy", "role": "operator", "clusters": ["web"]}
    And the status is 201
    And I remember token as token
    And 10 seconds pass
    When the owner of the token $token requests GET /whoami
    Then the answer is {"name": "token:deploy/operator", "owner": "operator", "authenticator": "token", "limit": {"role": "operator", "clusters": ["web"]}}
    When the owner of the token $token requests PUT /cluster/web/restart
    Then the status is 201
    When the owner of the token $token requests GET /clusters
    Then the answer is ["web"]
    When the owner of the token $token requests PUT /cluster/db/restart
    Then the status is 404

  @real
  Scenario: A token is accepted as the password of the user "token", too
    Given the file .commissaire.json of ann:
      """
      """
    And I request POST /tokens with {"name": "t", "role": "reader", "clusters": ["*"]}
    And I remember token as token
    And 10 seconds pass
    And I remember the address of the server as server
    When ann runs `commctl --context ci login $server --username token` with the input:
      """
      $token
      """
    Then the command succeeds
    When ann runs `commctl --context ci whoami`
    Then the command succeeds
    And it prints "name: token:t/admin"

  @real
  Scenario: A token is shown once
    Given I request POST /tokens with {"name": "t", "role": "reader", "clusters": ["*"]}
    And I remember token as token
    When I request GET /tokens
    Then the status is 200
    And the answer is [{"name": "t", "owner": "admin", "role": "reader", "clusters": ["*"], "from": [], "token": null, "last_used": null}]
    And the answer does not say "$token"

  @real
  Scenario Outline: A token is valid for 90 days unless it says otherwise: <expires>
    When I request POST /tokens with {"name": "t", "role": "reader", "clusters": ["*"]<expires>}
    Then the status is 201
    And the field expires has "<end>" in it

    Examples:
      | expires                               | end                 |
      |                                       | 2027-03-01T12:00:00 |
      | , "expires": 3600                     | 2026-12-01T13:00:00 |
      | , "expires": "2h"                     | 2026-12-01T14:00:00 |
      | , "expires": "2026-12-31T12:00:00Z"   | 2026-12-31T12:00:00 |

  @real
  Scenario Outline: A token with <mistake> is rejected
    When I request POST /tokens with <body>
    Then the status is 400
    And the field detail has "<words>" in it
    When I request GET /tokens
    Then the answer is []

    Examples:
      | mistake                     | body                                                                         | words    |
      | a life of more than a year  | {"name": "t", "role": "reader", "clusters": ["*"], "expires": "400d"}        | expires  |
      | an end in the past          | {"name": "t", "role": "reader", "clusters": ["*"], "expires": "2020-01-01T00:00:00Z"} | expires |
      | no clusters                 | {"name": "t", "role": "reader", "clusters": []}                              | clusters |
      | an unknown role             | {"name": "t", "role": "root", "clusters": ["*"]}                             | role     |
      | the role enroll             | {"name": "t", "role": "enroll", "clusters": ["*"]}                           | role     |
      | a name with a blank         | {"name": "a b", "role": "reader", "clusters": ["*"]}                         | name     |
      | a misspelt field            | {"name": "t", "role": "reader", "clusters": ["*"], "expire": "2h"}           | expires  |
      | a network that is none      | {"name": "t", "role": "reader", "clusters": ["*"], "from": ["home"]}         | from     |

  @real
  Scenario: An owner has one token of a name
    Given I request POST /tokens with {"name": "t", "role": "reader", "clusters": ["*"]}
    When I request POST /tokens with {"name": "t", "role": "reader", "clusters": ["*"]}
    Then the status is 409
    And the field detail is "admin has an API token t: revoke it first, or choose another name"
    When the operator requests POST /tokens with {"name": "t", "role": "reader", "clusters": ["*"]}
    Then the status is 201

  @real
  Scenario: A user makes no token with more rights than its own
    When the reader requests POST /tokens with {"name": "t", "role": "operator", "clusters": ["web"]}
    Then the status is 403
    And the field detail has "an API token has no more rights than its owner" in it
    When the reader requests GET /tokens
    Then the answer is []

  @real
  Scenario: A token has no more rights than its owner has when it is used
    Given the operator requests POST /tokens with {"name": "t", "role": "operator", "clusters": ["*"]}
    And I remember token as token
    And I request PUT /binding/op with {"kind": "user", "subject": "operator", "role": "reader", "clusters": ["web"]}
    And 10 seconds pass
    When the owner of the token $token requests GET /clusters
    Then the answer is ["web"]
    When the owner of the token $token requests PUT /cluster/web/restart
    Then the status is 403

  @real
  Scenario: A token gains nothing when its owner does
    Given the reader requests POST /tokens with {"name": "t", "role": "reader", "clusters": ["*"]}
    And I remember token as token
    And I request PUT /binding/re with {"kind": "user", "subject": "reader", "role": "admin", "clusters": ["*"]}
    And 10 seconds pass
    When the owner of the token $token requests GET /clusters
    Then the status is 200
    When the owner of the token $token requests PUT /cluster/web/restart
    Then the status is 403

  @real
  Scenario Outline: A token of an administrator does not <method> <path>
    Given I request POST /tokens with {"name": "t", "role": "admin", "clusters": ["*"]}
    And I remember token as token
    And I remember id as id
    And 10 seconds pass
    When the owner of the token $token requests <method> <path>
    Then the status is 403
    And the field detail has "an API token makes and revokes no API tokens, and changes no bindings" in it

    Examples:
      | method | path        |
      | POST   | /tokens     |
      | DELETE | /token/$id  |
      | PUT    | /binding/x  |
      | DELETE | /binding/x  |

  @real
  Scenario: A revoked token is rejected
    Given I request POST /tokens with {"name": "t", "role": "reader", "clusters": ["*"]}
    And I remember token as token
    And I remember id as id
    And 10 seconds pass
    When I request DELETE /token/$id
    Then the status is 200
    When 10 seconds pass
    And the owner of the token $token requests GET /clusters
    Then the status is 401
    And the field detail is "this API token is unknown, or was revoked"
    When I request GET /tokens
    Then the answer is []

  Scenario: A token is rejected once it has expired
    Given I request POST /tokens with {"name": "t", "role": "reader", "clusters": ["*"], "expires": "1h"}
    And I remember token as token
    And 59 minutes pass
    When the owner of the token $token requests GET /clusters
    Then the status is 200
    When 2 minutes pass
    And the owner of the token $token requests GET /clusters
    Then the status is 401
    And the field detail has "this API token has expired" in it

  @real
  Scenario: A token is accepted only from its networks
    Given I request POST /tokens with {"name": "far", "role": "reader", "clusters": ["*"], "from": ["10.0.0.0/8"]}
    And I remember token as far
    And I request POST /tokens with {"name": "near", "role": "reader", "clusters": ["*"], "from": ["192.0.2.0/24"]}
    And I remember token as near
    And 10 seconds pass
    When the owner of the token $far requests GET /clusters
    Then the status is 401
    And the field detail has "this API token is not accepted from 192.0.2.1" in it
    When the owner of the token $near requests GET /clusters
    Then the status is 200

  @real
  Scenario: A token that was changed is rejected as damaged
    Given I request POST /tokens with {"name": "t", "role": "reader", "clusters": ["*"]}
    And I remember token as token
    When the owner of the token $tokenx requests GET /clusters
    Then the status is 401
    And the field detail is "this API token is damaged: a part of it is missing or changed"

  Scenario: A token that was restored from a backup is void
    Given I request POST /tokens with {"name": "t", "role": "reader", "clusters": ["*"]}
    And I remember token as token
    And I remember id as id
    And the API token $id was restored from a backup
    And 10 seconds pass
    When the owner of the token $token requests GET /clusters
    Then the status is 403
    And the field detail has "a restore from a backup voided this API token" in it

  @real
  Scenario: Users see their own tokens, an administrator those of all users
    Given the reader requests POST /tokens with {"name": "a", "role": "reader", "clusters": ["*"]}
    And the operator requests POST /tokens with {"name": "b", "role": "reader", "clusters": ["*"]}
    When the reader requests GET /tokens
    Then the answer is [{"name": "a", "owner": "reader"}]
    When I request GET /tokens
    Then the answer is [{"name": "b", "owner": "operator"}, {"name": "a", "owner": "reader"}]

  @real
  Scenario: Users do not revoke the tokens of others, administrators do
    Given the operator requests POST /tokens with {"name": "t", "role": "reader", "clusters": ["*"]}
    And I remember id as id
    When the reader requests DELETE /token/$id
    Then the status is 404
    And the field detail is "there is no API token $id"
    When I request DELETE /token/$id
    Then the status is 200

  Scenario: A token shows when it was last used
    Given I request POST /tokens with {"name": "t", "role": "reader", "clusters": ["*"]}
    And I remember token as token
    And 10 seconds pass
    When the owner of the token $token requests GET /clusters
    And 2 hours pass
    And I request GET /tokens
    Then the field 0.last_used has "2026-12-01T12:" in it

  @real
  Scenario: commctl prints the token alone
    When I run `commctl token create --role operator --cluster web --expires 2h deploy`
    Then the command succeeds
    And it prints "cmsr_"
    And it does not print "deploy"
    And it says "made the token deploy"
    And it says "which expires at 2026-12-01T14:00"
    And it says "it is shown this once"

  @real
  Scenario: commctl lists tokens and revokes one by its name
    Given I request POST /tokens with {"name": "nightly", "role": "reader", "clusters": ["*"]}
    When I run `commctl token list`
    Then the command succeeds
    And it prints "name: nightly"
    And it does not print "cmsr_"
    When I run `commctl token revoke nightly`
    Then the command succeeds
    And it says "deleted nightly"
    When I run `commctl token list`
    Then it prints:
      """
      []
      """

  @real
  Scenario: commctl revokes no token of another user by its name
    Given the operator requests POST /tokens with {"name": "t", "role": "reader", "clusters": ["*"]}
    When I run `commctl token revoke t`
    Then the command exits with 1
    And it says "there is no API token t"
    When I request GET /tokens
    Then the answer is [{"name": "t", "owner": "operator"}]
