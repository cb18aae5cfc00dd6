Feature: commctl
  The command line of operators. It prints data to standard output, as YAML unless another format is asked for, and says
  everything else on standard error. Exit status: 0 success, 1 the server refuses or finds nothing, 2 wrong usage.

  @real
  Scenario: Clusters are created, listed, shown and deleted
    When I run `commctl cluster create web`
    Then the command succeeds
    And it prints:
      """
      container_manager: ''
      name: web
      network: default
      status: ''
      """
    When I run `commctl cluster list`
    Then it prints:
      """
      - web
      """
    When I run `commctl cluster get web`
    Then it prints:
      """
      container_manager: ''
      hosts:
        available: 0
        total: 0
        unavailable: 0
      hostset: []
      name: web
      network: default
      status: ok
      """
    When I run `commctl cluster delete web`
    Then the command succeeds
    And it prints nothing
    And it says "deleted web"
    When I request GET /clusters
    Then the answer is []

  @real
  Scenario: A cluster is created with a network and a container manager
    Given I request PUT /network/bare with {"type": "none"}
    And I request PUT /containermanager/t with {"type": "trivial"}
    When I run `commctl cluster create --network bare --container-manager t web`
    Then the command succeeds
    When I request GET /cluster/web
    Then the answer is {"network": "bare", "container_manager": "t"}

  @real
  Scenario: A cluster with an unknown network is not created
    When I run `commctl cluster create -n bare web`
    Then the command exits with 1
    And it says "there is no network bare, only default: nothing was created; to make it: commctl network create bare"
    When I request GET /clusters
    Then the answer is []

  @real
  Scenario: A cluster that exists with a container manager is not one of hosts only
    Given I request PUT /containermanager/t with {"type": "trivial"}
    And I request PUT /cluster/web with {"container_manager": "t"}
    When I run `commctl cluster create --type host_only web`
    Then the command exits with 1
    And it says "the cluster web exists and is not host_only, since its container manager is t: nothing was changed"

  @real
  Scenario: Of several clusters those that exist are deleted
    Given the cluster web
    And the cluster db
    When I run `commctl cluster delete web mail db`
    Then the command exits with 1
    And it says "deleted web"
    And it says "mail: there is no cluster mail"
    And it says "deleted db"
    And it says "1 of 3 were not deleted"
    When I request GET /clusters
    Then the answer is []

  @real
  Scenario Outline: An empty list is printed as one: <command>
    When I run `commctl <command>`
    Then the command succeeds
    And it prints:
      """
      []
      """

    Examples:
      | command                |
      | cluster list           |
      | host list              |
      | container_manager list |

  @real
  Scenario: Data is printed as JSON
    Given the cluster web with the host 10.0.0.1
    When I run `commctl -o json cluster get web`
    Then the command succeeds
    And it prints:
      """
      {
        "container_manager": "",
        "hosts": {
          "available": 1,
          "total": 1,
          "unavailable": 0
        },
        "hostset": [
          "10.0.0.1"
        ],
        "name": "web",
        "network": "default",
        "status": "ok"
      }
      """

  Scenario: Data is printed as a table
    Given the cluster web with the hosts 10.0.0.1 to 10.0.0.2
    When I run `commctl cluster get web --output table`
    Then the command succeeds
    And it prints:
      """
      NAME     web
      STATUS   + ok
      READY    2/2
      NETWORK  default
      HOSTS    10.0.0.1, 10.0.0.2
      """
    When I run `commctl -o table cluster list`
    Then it prints:
      """
      NAME  STATUS  READY  NETWORK  HOSTS
      web   + ok    2/2    default  10.0.0.1, 10.0.0.2
      """
    When I run `commctl -o table host list`
    Then it prints "ADDRESS   STATUS   CLUSTER  "
    And it prints "10.0.0.1  + ready  web      "

  Scenario: Only names are printed
    Given the cluster web with the hosts 10.0.0.1 to 10.0.0.3
    When I run `commctl -o name host list web`
    Then it prints:
      """
      10.0.0.1
      10.0.0.2
      10.0.0.3
      """

  Scenario: A list is filtered by what its table shows
    Given the cluster web with the hosts 10.0.0.1 to 10.0.0.2
    When I run `commctl -o name host list --filter cluster=web --filter status=ready --filter address!=10.0.0.1`
    Then it prints:
      """
      10.0.0.2
      """
    When I run `commctl host list --filter cluster=nowhere`
    Then the command exits with 2
    And it says "--filter: unknown value "nowhere" of cluster; it is one of web"

  @real
  Scenario Outline: A mistake is wrong usage, with what would be right: <command>
    When I run `commctl <command>`
    Then the command exits with 2
    And it prints nothing
    And it says "<words>"

    Examples:
      | command                             | words                                                  |
      | -o xml cluster list                 | possible values: yaml, json, table, wide, name         |
      | host list --filter state=ready      | unknown field "state"; it is one of address, status    |
      | host list --filter status=redy      | it is one of new, investigating, bootstrapping, ready  |
      | host list -o table                  | '-o' stands before the first command                   |
      | cluster create                      | Usage: commctl cluster create                          |
      | cluster create web/db               | a name cannot contain '/'                              |
      | host create --timeout 5m 10.0.0.1   | --wait                                                 |
      | host create --ssh-port 0 10.0.0.1   | 0 is not in 1..=65535                                  |
      | host create 10.0.0.1 nofile         | cannot read nofile: No such file or directory          |
      | host accept-key 10.0.0.1            | Usage: commctl host accept-key <ADDRESS> <FINGERPRINT> |
      | network create -t vxlan n           | possible values: flannel_etcd, flannel_server, none    |
      | network create -o address=1 n       | not a JSON object; -o is not the output format here    |
      | container_manager create -o token t | an option is KEY=VALUE or a JSON object                |

  @real
  Scenario Outline: What does not exist is exit status 1: <command>
    When I run `commctl <command>`
    Then the command exits with 1
    And it prints nothing
    And it says "error: there is no <what>"

    Examples:
      | command                    | what                |
      | cluster get web            | cluster web         |
      | host get 10.9.9.9          | host 10.9.9.9       |
      | host list web              | cluster web         |
      | host cordon 10.9.9.9       | host 10.9.9.9       |
      | host ssh 10.9.9.9          | host 10.9.9.9       |
      | host join 10.9.9.9 web     | cluster web         |
      | network get bare           | network bare        |
      | container_manager delete t | container manager t |

  @real
  Scenario: A host is registered, listed, shown and deleted
    Given a host 10.0.0.1
    When I run `commctl host create 10.0.0.1`
    Then the command succeeds
    And it prints:
      """
      address: 10.0.0.1
      cpus: 0
      last_check: ''
      memory: 0
      os: ''
      source: ''
      space: 0
      status: investigating
      """
    Given the host 10.0.0.1 becomes disassociated
    When I run `commctl host list`
    Then it prints "- address: 10.0.0.1"
    When I run `commctl host get 10.0.0.1`
    Then it prints "os: debian"
    And it prints "status: disassociated"
    When I run `commctl host status 10.0.0.1`
    Then it prints "type: host_only"
    And it prints "status: disassociated"
    When I run `commctl host delete 10.0.0.1`
    Then the command succeeds
    And it says "deleted 10.0.0.1"
    When I request GET /hosts
    Then the answer is []

  @real
  Scenario: commctl waits until a host is set up
    Given a host 10.0.0.1
    And the cluster web
    When I run `commctl host create --cluster web --wait 10.0.0.1`
    Then the command succeeds
    And it says "10.0.0.1 investigating"
    And it says "10.0.0.1 disassociated"
    And it prints "status: disassociated"
    When I run `commctl host list web`
    Then it prints:
      """
      - 10.0.0.1
      """

  Scenario: commctl fails if the host fails for which it waits
    Given a host 10.0.0.1
    And the host 10.0.0.1 refuses log-ins
    When I run `commctl host create --wait 10.0.0.1`
    Then the command exits with 1
    And it prints "status: failed"
    And it says "10.0.0.1 failed: auth-refused: 10.0.0.1 refuses the log-in of root"

  @real
  Scenario: A host is registered with a private key, a user, a port and its host key
    Given a host 10.0.0.1
    When I run `commctl host create -u ops --ssh-port 2222 --host-key 'ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA root@web1' 10.0.0.1 -` with the input:
      """
      key
      """
    Then the command succeeds
    When I request GET /host/10.0.0.1/creds
    Then the answer is {"ssh_priv_key": "a2V5Cg==", "remote_user": "ops", "ssh_port": 2222, "ssh_host_key": "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"}

  @real
  Scenario: A public key does not open a host
    When I run `commctl host create 10.0.0.1 -` with the input:
      """
      ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA ops@laptop
      """
    Then the command exits with 2
    And it says "holds a public key; the private one is needed"
    When I request GET /hosts
    Then the answer is []

  @real
  Scenario: A host that is known already keeps its user, and commctl says how to change it
    Given the registered host 10.0.0.1
    When I run `commctl host create -u ops 10.0.0.1`
    Then the command succeeds
    And it says "warning: 10.0.0.1 was known already and is still logged in to as root on port 22; to change that: commctl host rotate -u ops 10.0.0.1"

  @real
  Scenario: A host joins a cluster and leaves it
    Given the cluster web
    And the registered host 10.0.0.1
    When I run `commctl host join 10.0.0.1 web`
    Then the command succeeds
    And it prints:
      """
      - 10.0.0.1
      """
    When I run `commctl host unjoin 10.0.0.1 web`
    Then the command succeeds
    And it prints nothing
    And it says "10.0.0.1 is no longer in web"
    When I request GET /cluster/web/hosts
    Then the answer is []
    When I run `commctl host unjoin 10.0.0.1 web`
    Then the command exits with 1
    And it says "10.0.0.1 is no member of the cluster web"
    And it says "nothing was changed; commctl cluster list and commctl host list web show what there is"

  @real
  Scenario: The status of a failed host says why, and what to do
    Given the registered host 10.0.0.1
    And the host 10.0.0.1 loses its power
    And the host 10.0.0.1 becomes failed
    When I run `commctl host status 10.0.0.1`
    Then the command succeeds
    And it prints "reason: unreachable"
    And it prints "remedy: check its power, its network and its sshd"
    And it prints "status: failed"

  Scenario: A failed host is investigated again
    Given a host 10.0.0.1
    And the host 10.0.0.1 names no distribution
    And I request PUT /host/10.0.0.1
    And the host 10.0.0.1 becomes failed
    When the host 10.0.0.1 is repaired
    And I run `commctl host investigate 10.0.0.1`
    Then the command succeeds
    And it prints "status: investigating"
    And the host 10.0.0.1 becomes disassociated

  Scenario: Of all failed hosts three are investigated first, and the rest is left if these fail alike
    Given the hosts 10.0.0.1 to 10.0.0.4
    And the hosts 10.0.0.1 to 10.0.0.4 name no distribution
    And I request PUT /host/10.0.0.1
    And I request PUT /host/10.0.0.2
    And I request PUT /host/10.0.0.3
    And I request PUT /host/10.0.0.4
    And the hosts 10.0.0.1 to 10.0.0.4 become failed
    When I run `commctl host investigate --failed`
    Then the command exits with 1
    And it says "10.0.0.3: failed: unknown-os"
    And it says "the first 3 hosts failed alike (unknown-os): the other 1 were left as they are; remove the cause, then repeat the command"

  Scenario: All failed hosts are investigated once the first three do not fail any more
    Given the hosts 10.0.0.1 to 10.0.0.4
    And the hosts 10.0.0.1 to 10.0.0.4 name no distribution
    And I request PUT /host/10.0.0.1
    And I request PUT /host/10.0.0.2
    And I request PUT /host/10.0.0.3
    And I request PUT /host/10.0.0.4
    And the hosts 10.0.0.1 to 10.0.0.4 become failed
    When the hosts 10.0.0.1 to 10.0.0.4 are repaired
    And I run `commctl host investigate --failed`
    Then the command succeeds
    And it says "10.0.0.4: investigating"
    And the hosts 10.0.0.1 to 10.0.0.4 become disassociated

  @real
  Scenario: Without a failed host there is nothing to investigate
    Given the registered host 10.0.0.1
    When I run `commctl host investigate --failed`
    Then the command succeeds
    And it says "no failed host matches: nothing was done"

  Scenario: The changed key of a host is accepted by its fingerprint
    Given the registered host 10.0.0.1
    And the host 10.0.0.1 shows another key after its next boot
    And the host 10.0.0.1 is rebooted by others
    And the host 10.0.0.1 becomes failed
    When I run `commctl host accept-key 10.0.0.1 SHA256:wrong`
    Then the command exits with 1
    And it says "the host 10.0.0.1 has not been seen with a changed key of that fingerprint: see its status"
    When I run `commctl host accept-key 10.0.0.1 SHA256:gHw0GVD+BYiOO4yrKroHmmb4ZXTGgsybCUaVk+/TUaI`
    Then the command succeeds
    And it prints "status: investigating"
    And the host 10.0.0.1 becomes disassociated

  Scenario: The server's key is printed, to be put on hosts
    When I run `commctl host publickey`
    Then the command succeeds
    And it prints:
      """
      ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsabgH5C9okWi0dh2l9GKJl commissaire
      """

  Scenario: A host gets a new key and another user
    Given the registered host 10.0.0.1
    When I run `commctl host rotate -u ops 10.0.0.1 -` with the input:
      """
      key
      """
    Then the command succeeds
    And it prints "status: disassociated"
    When I request GET /host/10.0.0.1/creds
    Then the answer is {"ssh_priv_key": "a2V5Cg==", "remote_user": "ops"}
    When I run `commctl host rotate --server-key 10.0.0.1`
    Then the command succeeds
    When I request GET /host/10.0.0.1/creds
    Then the answer is {"ssh_priv_key": "", "remote_user": "ops"}

  Scenario: A new user is kept only if the host accepts the log-in
    Given the registered host 10.0.0.1
    And the host 10.0.0.1 refuses log-ins
    When I run `commctl host rotate -u ops 10.0.0.1`
    Then the command exits with 1
    And it says "10.0.0.1 refuses the log-in of ops"
    When I request GET /host/10.0.0.1/creds
    Then the field remote_user is root

  # `ssh -G` prints what it would do, and does nothing.
  Scenario: commctl logs in to a host with its user, port and host key
    Given the registered host 10.0.0.1
    And I request PUT /host/10.0.0.1/creds with {"remote_user": "ops", "ssh_port": 2222}
    When I run `commctl host ssh 10.0.0.1 -G`
    Then the command succeeds
    And it prints "hostname 10.0.0.1"
    And it prints "user ops"
    And it prints "port 2222"
    And it prints "stricthostkeychecking true"

  @real
  Scenario: The exit status of commctl host ssh is that of ssh
    Given the registered host 10.0.0.1
    When I run `commctl host ssh 10.0.0.1 -o NoSuchOption=1 -G`
    Then the command exits with 255
    And it says "Bad configuration option: nosuchoption"

  @real
  Scenario: Networks are created, listed, shown and deleted
    When I run `commctl network create -t flannel_server -o '{"address": "192.0.2.1:8472"}' routed`
    Then the command succeeds
    And it prints:
      """
      name: routed
      options:
        address: 192.0.2.1:8472
      type: flannel_server
      """
    When I run `commctl network list`
    Then it prints:
      """
      - default
      - routed
      """
    When I run `commctl network get routed`
    Then it prints "type: flannel_server"
    When I run `commctl network delete routed`
    Then the command succeeds
    And it says "deleted routed"
    When I request GET /networks
    Then the answer is ["default"]

  @real
  Scenario: commctl says why the server refuses
    When I run `commctl network delete default`
    Then the command exits with 1
    And it prints nothing
    And it says "error: the default network stays (409 Conflict)"

  @real
  Scenario: Container managers are created, listed, shown and deleted
    When I run `commctl container_manager create -t trivial t`
    Then the command succeeds
    When I run `commctl container_manager list`
    Then it prints:
      """
      - t
      """
    When I run `commctl container-manager get t`
    Then it prints:
      """
      name: t
      options: {}
      type: trivial
      """
    When I run `commctl container_manager delete t`
    Then the command succeeds
    And it says "deleted t"
    When I request GET /containermanagers
    Then the answer is []

  @real
  Scenario: The options of a container manager add up, the last one wins, and secrets are masked
    When I run `commctl container_manager create -t trivial -o colour=blue -o size=1 -o '{"colour": "red"}' -o - t` with the input:
      """
      {"token": "hidden-token"}
      """
    Then the command succeeds
    And it prints:
      """
      name: t
      options:
        colour: red
        size: '1'
        token: '********'
      type: trivial
      """
