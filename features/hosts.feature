Feature: Hosts
  A host is registered with its address. The server logs in, looks at it, sets it up, and watches it from then on.

  Scenario: A host is registered, and usable once it was investigated
    Given a host 10.0.0.1
    When I request PUT /host/10.0.0.1 with {}
    Then the status is 201
    And the answer is {"address": "10.0.0.1", "status": "investigating"}
    And the host 10.0.0.1 becomes disassociated
    When I request GET /host/10.0.0.1
    Then the answer is {"os": "debian", "cpus": 2}

  Scenario: A host may be named in the body
    Given a host 10.0.0.1
    When I request PUT /host with {"address": "10.0.0.1"}
    Then the status is 201
    And the answer is {"address": "10.0.0.1"}

  Scenario: A host that is registered into a cluster becomes its member
    Given a host 10.0.0.1
    And the cluster web
    When I request PUT /host/10.0.0.1 with {"cluster": "web"}
    Then the status is 201
    And the host 10.0.0.1 becomes disassociated
    When I request GET /cluster/web/hosts
    Then the answer is ["10.0.0.1"]

  Scenario: A host that does not answer fails, and recovers once it does
    Given the registered host 10.0.0.1
    When the host 10.0.0.1 loses its power
    Then the host 10.0.0.1 becomes failed
    When I request GET /host/10.0.0.1/status
    Then the status is 200
    When the host 10.0.0.1 comes back
    Then the host 10.0.0.1 becomes disassociated

  Scenario: All hosts are listed
    Given the registered hosts 10.0.0.1 to 10.0.0.2
    When I request GET /hosts
    Then the answer is [{"address": "10.0.0.1"}, {"address": "10.0.0.2"}]

  Scenario: The credentials of a host are shown to administrators only
    Given the registered host 10.0.0.1
    When I request GET /host/10.0.0.1/creds
    Then the status is 200
    And the answer is {"remote_user": "root"}
    When the reader requests GET /host/10.0.0.1/creds
    Then the status is 403

  Scenario: A host that shows another key is left alone until an operator accepts the key
    Given the registered host 10.0.0.1
    And the host 10.0.0.1 shows another key after its next boot
    When the host 10.0.0.1 is rebooted by others
    Then the host 10.0.0.1 becomes failed
    When I request PUT /host/10.0.0.1/hostkey with {"fingerprint": "SHA256:wrong"}
    Then the status is 409
    And the answer says "has not been seen with a changed key of that fingerprint"

  Scenario: A host is investigated again on request
    Given the registered host 10.0.0.1
    When I request POST /host/10.0.0.1/investigate with {}
    Then the status is 202
    And the host 10.0.0.1 becomes disassociated

  Scenario: A deleted host is gone
    Given the registered host 10.0.0.1
    When I request DELETE /host/10.0.0.1
    Then the status is 200
    When I request GET /host/10.0.0.1
    Then the status is 404

  Scenario: The server's own public key is shown
    When I request GET /publickey
    Then the status is 200
    And the answer says "ssh-ed25519"

  Scenario: A host has a place among others
    Given the registered host 10.0.0.1
    When I request PUT /host/10.0.0.1/placement with {"quorum_group": "etcd"}
    Then the status is 200
    When I request GET /host/10.0.0.1/placement
    Then the answer is {"quorum_group": "etcd"}
