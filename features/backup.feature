Feature: Backups over the network
  A backup is one text file with all records as they were at one moment, credentials encrypted.
  It takes the role admin or backup on all clusters, and never holds the keys of the server.

  @single
  @real
  Scenario Outline: The role <role> takes a backup
    When the <role> requests GET /backup
    Then the status is 200
    And the answer says "{"commissaire_backup":1,"record_format":2,"
    And the answer says "{"end_of_backup":1,"

    Examples:
      | role   |
      | admin  |
      | backup |

  @real
  Scenario Outline: The role <role> takes no backup
    When the <role> requests GET /backup
    Then the status is 403
    And the field detail has "this needs the role backup or admin on all clusters" in it
    And the field detail has "and <role> has neither" in it

    Examples:
      | role     |
      | operator |
      | reader   |
      | enroll   |

  @real
  Scenario: An administrator of some clusters takes no backup
    Given I request PUT /binding/op with {"kind": "user", "subject": "operator", "role": "admin", "clusters": ["web", "web-*"]}
    And 10 seconds pass
    When the operator requests GET /backup
    Then the status is 403
    And the field detail has "on all clusters" in it

  @single
  @real
  Scenario: A user takes backups by a binding, beside its other role
    Given I request PUT /binding/a with {"kind": "user", "subject": "operator", "role": "operator", "clusters": ["web"]}
    And I request PUT /binding/b with {"kind": "user", "subject": "operator", "role": "backup", "clusters": ["*"]}
    And 10 seconds pass
    When the operator requests GET /backup
    Then the status is 200
    When the operator requests GET /clusters
    Then the status is 200

  @single
  @real
  Scenario: A token with the role backup takes backups, and does nothing else
    Given I request POST /tokens with {"name": "nightly", "role": "backup", "clusters": ["*"]}
    And I remember token as token
    And 10 seconds pass
    When the owner of the token $token requests GET /backup
    Then the status is 200
    When the owner of the token $token requests GET /clusters
    Then the status is 403

  @single
  @real
  Scenario: A backup is a header, a line for each record, and a trailer
    Given the cluster web with the host 10.0.0.1
    When I request GET /backup
    Then the answer says "{"commissaire_backup":1,"
    And the answer says ""not_included":["
    And the answer says "{"type":"Host","key":"/commissaire/hosts/10.0.0.1","value":{"
    And the answer says "{"type":"ClusterMember","
    And the answer says "{"type":"Network","key":"/commissaire/networks/default","value":{"
    And the answer says ""sha256":""

  @single
  @real
  Scenario: No secret is readable in a backup
    Given a host 10.0.0.1
    And I request PUT /host/10.0.0.1 with {"ssh_priv_key": "cHJpdmF0ZS1rZXktb2YtdGhlLWhvc3Q="}
    And the status is 201
    And I request PUT /containermanager/k with {"type": "kubernetes", "options": {"server_url": "https://api.test", "token": "token-of-kubernetes"}}
    And the status is 201
    And I request POST /tokens with {"name": "t", "role": "reader", "clusters": ["*"]}
    And I remember token as token
    And I request POST /enrollments with {}
    And I remember token as enrollment
    When I request GET /backup
    Then the answer says "{"type":"HostCreds","
    And the answer says "{"type":"ContainerManagerConfig","
    And the answer says "{"type":"ApiToken","
    And the answer says "{"type":"Enrollment","
    And the answer does not say "cHJpdmF0ZS1rZXktb2YtdGhlLWhvc3Q="
    And the answer does not say "private-key-of-the-host"
    And the answer does not say "token-of-kubernetes"
    And the answer does not say "$token"
    And the answer does not say "$enrollment"

  @single
  Scenario: The server shows the last backup
    When the backup requests GET /backup
    And 2 hours pass
    And I request GET /readyz/?verbose
    Then the answer is {"last_backup": {"with_keys": false, "age": 7200}}

  @real
  Scenario: Without a backup the server shows none
    When I request GET /readyz/?verbose
    Then the status is 200
    And the answer is {"status": "ready", "last_backup": null}

  @single
  Scenario: commctl writes a backup into a file, once it is complete
    Given the cluster web with the host 10.0.0.1
    When a backup runs `commctl backup commissaire.jsonl`
    Then the command succeeds
    And it prints nothing
    And it says "commissaire.jsonl: "
    And it says " records, complete"
    And the file commissaire.jsonl of backup has "/commissaire/hosts/10.0.0.1" in it
    And the file commissaire.jsonl of backup has "end_of_backup" in it

  @single
  @real
  Scenario: commctl writes a backup to standard output
    When I run `commctl backup -`
    Then the command succeeds
    And it prints "{"commissaire_backup":1,"
    And it prints "{"end_of_backup":1,"
    And it says " records, complete"

  Scenario: commctl does not overwrite a file with a backup
    Given the file old.jsonl of backup:
      """
      of yesterday
      """
    And I remember the address of the server as server
    And the file .commissaire.json of backup:
      """
      {"endpoint": "$server", "username": "backup", "password": "secret"}
      """
    When a backup runs `commctl backup old.jsonl`
    Then the command exits with 2
    And it says "old.jsonl exists: nothing was done"
    And the file old.jsonl of backup has "of yesterday" in it

  @real
  Scenario: commctl writes no file if the user may take no backup
    When a reader runs `commctl backup commissaire.jsonl`
    Then the command exits with 1
    And it says "this needs the role backup or admin on all clusters"
    And there is no file commissaire.jsonl of reader
