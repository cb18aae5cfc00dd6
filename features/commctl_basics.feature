Feature: commctl
  The command line of operators. It prints YAML unless another format is asked for, and says on standard error what went
  wrong.

  Scenario: Clusters are created, listed, shown and deleted
    When I run `commctl cluster create web`
    Then the command succeeds
    When I run `commctl cluster list`
    Then it prints:
      """
      - web
      """
    When I run `commctl -o json cluster get web`
    Then it prints ""name": "web""
    When I run `commctl cluster delete web`
    Then the command succeeds
    When I run `commctl cluster get web`
    Then the command exits with 1
    And it says "web"

  Scenario: Hosts are registered, listed, shown and deleted
    Given a host 10.0.0.1
    And the cluster web
    When I run `commctl host create --cluster web --wait 10.0.0.1`
    Then the command succeeds
    When I run `commctl host list web`
    Then it prints:
      """
      - 10.0.0.1
      """
    When I run `commctl host get 10.0.0.1`
    Then it prints "status: disassociated"
    When I run `commctl host status 10.0.0.1`
    Then the command succeeds
    When I run `commctl host investigate 10.0.0.1`
    Then the command succeeds
    When I run `commctl host unjoin 10.0.0.1 web`
    Then the command succeeds
    When I run `commctl host join 10.0.0.1 web`
    Then the command succeeds
    When I run `commctl host delete 10.0.0.1`
    Then the command succeeds

  Scenario: A host with another key than before is accepted by its fingerprint
    Given the registered host 10.0.0.1
    When I run `commctl host accept-key 10.0.0.1 SHA256:wrong`
    Then the command fails
    And it says "fingerprint"

  Scenario: The server's key is shown, to be put on hosts
    When I run `commctl host publickey`
    Then it prints "ssh-ed25519 "

  Scenario: A host is placed among others
    Given the registered host 10.0.0.1
    When I run `commctl host place --quorum-group etcd 10.0.0.1`
    Then the command succeeds

  Scenario Outline: commctl host <command> needs a host that exists
    When I run `commctl host <command> 10.9.9.9`
    Then the command exits with 1
    And it says "10.9.9.9"

    Examples:
      | command  |
      | cordon   |
      | uncordon |
      | drain    |
      | ssh      |

  Scenario: A new key is kept only if it opens the host
    Given the registered host 10.0.0.1
    And the host 10.0.0.1 refuses log-ins
    When I run `commctl host rotate --server-key 10.0.0.1`
    Then the command exits with 1
    And it says "10.0.0.1"

  Scenario: Networks are created, listed, shown and deleted
    When I run `commctl network create -t none bare`
    Then the command succeeds
    When I run `commctl network list`
    Then it prints "- bare"
    When I run `commctl network get bare`
    Then it prints "type: none"
    When I run `commctl network delete bare`
    Then the command succeeds

  Scenario: Container managers are created, listed, shown and deleted
    When I run `commctl container_manager create -t trivial t1`
    Then the command succeeds
    When I run `commctl container_manager list`
    Then it prints "- t1"
    When I run `commctl container_manager get t1`
    Then it prints "type: trivial"
    When I run `commctl container_manager delete t1`
    Then the command succeeds
