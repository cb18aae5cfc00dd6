Feature: Hosts in Kubernetes
  A container manager of the type kubernetes is the API server of a Kubernetes, and how to log in there. The hosts of a cluster
  that has one are registered as nodes, and their status shows what the API server says about them.

  @real
  Scenario: The token of a Kubernetes is never shown
    When I request PUT /containermanager/k with {"type": "kubernetes", "options": {"server_url": "https://api.test", "token": "canary"}}
    Then the status is 201
    And the answer is {"name": "k", "type": "kubernetes", "options": {"server_url": "https://api.test", "token": "********"}}
    When I request GET /containermanager/k
    Then the status is 200
    And the answer is {"name": "k", "type": "kubernetes", "options": {"server_url": "https://api.test", "token": "********"}}

  @real
  Scenario: A masked token that is sent back means the stored one
    Given I request PUT /containermanager/k with {"type": "kubernetes", "options": {"server_url": "https://api.test", "token": "canary"}}
    When I request PUT /containermanager/k with {"type": "kubernetes", "options": {"server_url": "https://api.test", "token": "********"}}
    Then the status is 201
    When I request PUT /containermanager/k with {"type": "kubernetes", "options": {"server_url": "https://api.test", "token": "other"}}
    Then the status is 409
    And the answer says "there is a container manager k with another type or other options"

  @real
  Scenario Outline: A Kubernetes that could not be reached with its options is rejected
    When I request PUT /containermanager/k with {"type": "kubernetes", "options": <options>}
    Then the status is 400
    And the answer says "<reason>"
    And the answer does not say "canary"
    When I request GET /containermanager/k
    Then the status is 404

    Examples:
      | options                                                                              | reason                                                |
      | {}                                                                                   | the option `server_url` is missing                    |
      | {"server_url": "api.test:6443"}                                                      | begins with https:// or http://                       |
      | {"server_url": "https://admin:canary@api.test"}                                      | holds a user or a password                            |
      | {"server_url": "https://api.test", "tokne": "canary"}                                | did you mean `token`?                                 |
      | {"server_url": "https://api.test", "certificate_data": "canary"}                     | needs `certificate_key_data`                          |
      | {"server_url": "http://api.test", "certificate_authority_path": "/ca.pem"}           | certificates go with https                            |
      | {"server_url": "https://api.test", "token_path": "/etc/shadow"}                      | is a path below the directory `credentials-directory` |
      | {"kubeconfig_path": "../kubeconfig"}                                                 | is a path below the directory `credentials-directory` |
      | {"kubeconfig_path": "k1", "server_url": "https://api.test"}                          | `server_url` does not go with `kubeconfig_path`       |
      | {"server_url": "https://api.test", "token": "********"}                              | stands for a secret that is stored already            |
      | {"server_url": "https://api.test", "max_unavailable": 0}                             | `max_unavailable`                                     |

  @real
  Scenario: commctl registers a Kubernetes, and shows its token as a mask
    When I run `commctl container_manager create -t kubernetes -o server_url=https://api.test -o token=canary k`
    Then the command succeeds
    When I run `commctl container_manager get k`
    Then the command succeeds
    And it prints:
      """
      name: k
      options:
        server_url: https://api.test
        token: '********'
      type: kubernetes
      """

  Scenario: A host that is a node already becomes active, and stays a node when it leaves
    Given the cluster web on Kubernetes with the nodes 10.0.0.1 to 10.0.0.1
    When I request GET /host/10.0.0.1
    Then the answer is {"status": "active"}
    When I request DELETE /cluster/web/hosts/10.0.0.1
    Then the status is 200
    And the host 10.0.0.1 becomes disassociated
    And the Kubernetes has a node of 10.0.0.1

  Scenario: A host that is no node is registered as one, and its node is deleted when it leaves
    Given I request PUT /containermanager/k with {"type": "kubernetes", "options": {"server_url": "https://api.test"}}
    And I request PUT /cluster/web with {"container_manager": "k"}
    And the registered host 10.0.0.1
    When I request PUT /cluster/web/hosts/10.0.0.1
    Then the status is 200
    And the host 10.0.0.1 becomes active
    And the Kubernetes has a node of 10.0.0.1
    When I request DELETE /cluster/web/hosts/10.0.0.1
    Then the status is 200
    And the Kubernetes has no node of 10.0.0.1

  Scenario: A deleted cluster takes only the nodes of its own hosts along
    Given I request PUT /containermanager/k with {"type": "kubernetes", "options": {"server_url": "https://api.test"}}
    And I request PUT /cluster/web with {"container_manager": "k"}
    And I request PUT /cluster/db with {"container_manager": "k"}
    And the registered hosts 10.0.0.1 to 10.0.0.2
    And I request PUT /cluster/web/hosts/10.0.0.1
    And I request PUT /cluster/db/hosts/10.0.0.2
    When I request DELETE /cluster/web
    Then the status is 200
    And the Kubernetes has no node of 10.0.0.1
    And the Kubernetes has a node of 10.0.0.2

  Scenario: A host whose kubelet has to register it is no member before
    Given I request PUT /containermanager/k with {"type": "kubernetes", "options": {"server_url": "https://api.test", "create_nodes": false}}
    And I request PUT /cluster/web with {"container_manager": "k"}
    And the registered host 10.0.0.1
    When I request PUT /cluster/web/hosts/10.0.0.1
    Then the status is 502
    And the answer says "has no node 10.0.0.1, and its option `create_nodes` is false: its kubelet has to register it"
    When I request GET /cluster/web/hosts
    Then the answer is []

  Scenario: The status of a host shows its node
    Given the cluster web on Kubernetes with the nodes 10.0.0.1 to 10.0.0.1
    When I request GET /host/10.0.0.1/status
    Then the status is 200
    And the field type is host_only
    And the field host.status is active
    And the field container_manager.kind is Node
    And the field container_manager.metadata.name is node-10-0-0-1
    And the field container_manager.status.addresses.0.address is 10.0.0.1

  Scenario: commctl shows the node of a host
    Given the cluster web on Kubernetes with the nodes 10.0.0.1 to 10.0.0.1
    When I run `commctl host status 10.0.0.1`
    Then the command succeeds
    And it prints "status: active"
    And it prints "kubernetes.io/hostname: node-10-0-0-1"

  Scenario: The status of a host shows no node while the API server does not answer
    Given the cluster web on Kubernetes with the nodes 10.0.0.1 to 10.0.0.1
    And the API server does not answer
    When I request GET /host/10.0.0.1/status
    Then the status is 200
    And the field host.status is active
    And the answer is {"type": "host_only", "container_manager": {}}

  Scenario: A host that its Kubernetes does not register joins it once it can
    Given I request PUT /containermanager/k with {"type": "kubernetes", "options": {"server_url": "https://api.test"}}
    And I request PUT /cluster/web with {"container_manager": "k"}
    And the host 10.0.0.1 that is a node
    And the API server does not answer
    When I request PUT /host/10.0.0.1 with {"cluster": "web"}
    Then the host 10.0.0.1 becomes disassociated
    When 10 minutes pass
    And I request GET /explain/host/10.0.0.1
    Then the answer is {"reason": "container-manager-unavailable"}
    When the API server answers again
    Then the host 10.0.0.1 becomes active

  Scenario Outline: A Kubernetes that does not say which nodes are available is not restarted
    Given the cluster web on Kubernetes with the nodes 10.0.0.1 to 10.0.0.2
    And the API server <event>
    When I request PUT /cluster/web/restart with {}
    Then the status is <status>
    And the answer says "the container manager k"
    And the answer says "<reason>"
    And no host was rebooted

    Examples:
      | event                              | status | reason                                      |
      | does not answer                    | 503    | does not answer                             |
      | does not accept the token any more | 502    | the token or certificate is not accepted    |
      | denies the account everything      | 502    | conf/kubernetes/rbac.yaml                   |
