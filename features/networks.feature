@real
Feature: Networks
  A network says how the containers of a cluster's hosts reach each other, so what is installed on them.

  Scenario Outline: A network of the type <type> is created, read and deleted
    When I request PUT /network/net with {"type": "<type>", "options": <options>}
    Then the status is 201
    And the answer is {"name": "net", "type": "<type>", "options": <options>}
    When I request GET /network/net
    Then the status is 200
    And the answer is {"name": "net", "type": "<type>", "options": <options>}
    When I request DELETE /network/net
    Then the status is 200
    And the answer is []
    When I request GET /network/net
    Then the status is 404
    And the field detail is "there is no network net"

    Examples:
      | type           | options                       |
      | flannel_etcd   | {}                            |
      | flannel_server | {"address": "192.0.2.1:8472"} |
      | none           | {}                            |

  Scenario: A network without a type is one of flannel with etcd
    When I request PUT /network/net with {}
    Then the status is 201
    And the field type is flannel_etcd

  Scenario: Networks are listed by their names, with the default one
    Given I request PUT /network/routed with {"type": "none"}
    And I request PUT /network/bare with {"type": "none"}
    When I request GET /networks
    Then the status is 200
    And the answer is ["bare", "default", "routed"]

  Scenario: The same network may be created again
    Given I request PUT /network/net with {"type": "flannel_server", "options": {"address": "192.0.2.1:8472"}}
    When I request PUT /network/net with {"type": "flannel_server", "options": {"address": "192.0.2.1:8472"}}
    Then the status is 201

  Scenario Outline: A network that exists with <what> is not overwritten
    Given I request PUT /network/net with {"type": "flannel_server", "options": {"address": "192.0.2.1:8472"}}
    When I request PUT /network/net with <body>
    Then the status is 409
    And the field detail is "there is a network net with another type or other options: delete it first"
    When I request GET /network/net
    Then the answer is {"type": "flannel_server", "options": {"address": "192.0.2.1:8472"}}

    Examples:
      | what          | body                                                                 |
      | another type  | {"type": "none"}                                                     |
      | other options | {"type": "flannel_server", "options": {"address": "192.0.2.2:8472"}} |

  Scenario Outline: A network with <mistake> is rejected
    When I request PUT /network/bad with <body>
    Then the status is 400
    And the field detail has "<words>" in it
    When I request GET /network/bad
    Then the status is 404

    Examples:
      | mistake                             | body                                                            | words                                                       |
      | an unknown type                     | {"type": "vxlan"}                                               | type: unknown variant `vxlan`                               |
      | an empty type                       | {"type": ""}                                                    | type: unknown variant                                       |
      | a type in capitals                  | {"type": "None"}                                                | type: unknown variant                                       |
      | a flannel server without an address | {"type": "flannel_server"}                                      | a flannel_server network needs options.address as host:port |
      | a flannel server without a port     | {"type": "flannel_server", "options": {"address": "192.0.2.1"}} | a flannel_server network needs options.address as host:port |

  Scenario: The default network stays
    When I request DELETE /network/default
    Then the status is 409
    And the field detail is "the default network stays"
    When I request GET /network/default
    Then the status is 200

  Scenario: A network stays as long as a cluster uses it
    Given I request PUT /network/bare with {"type": "none"}
    And I request PUT /cluster/web with {"network": "bare"}
    When I request DELETE /network/bare
    Then the status is 409
    And the field detail is "the network bare is in use by web"
    When I request DELETE /cluster/web
    And I request DELETE /network/bare
    Then the status is 200

  Scenario: There is no network to delete
    When I request DELETE /network/bare
    Then the status is 404
    And the field detail is "there is no network bare"
