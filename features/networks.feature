Feature: Networks
  A network says how the containers of a cluster's hosts reach each other.

  Scenario: A network is made, read and deleted
    When I request PUT /network/routed with {"type": "flannel_server", "options": {"address": "192.0.2.1:8472"}}
    Then the status is 201
    When I request GET /network/routed
    Then the answer is {"name": "routed", "type": "flannel_server", "options": {"address": "192.0.2.1:8472"}}
    When I request GET /networks
    Then the answer says "routed"
    When I request DELETE /network/routed
    Then the status is 200
    When I request GET /network/routed
    Then the status is 404

  Scenario Outline: A network of <mistake> is rejected
    When I request PUT /network/bad with <body>
    Then the status is 400
    When I request GET /network/bad
    Then the status is 404

    Examples:
      | mistake                   | body                       |
      | an unknown type           | {"type": "vxlan"}          |
      | flannel without a server  | {"type": "flannel_server"} |
