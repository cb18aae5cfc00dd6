Feature: Nodes of a Kubernetes
  A host that is a node is cordoned and drained before its reboot, and uncordoned once its node is ready again. Disruption budgets
  are respected, and so is what others do to nodes. Single nodes are cordoned, drained and uncordoned by operators.

  Background:
    Given the cluster web on Kubernetes with the nodes 10.0.0.1 to 10.0.0.3

  # Rollouts

  Scenario: Nodes are drained before their reboot, and schedulable again afterwards
    Given 6 pods of shop, of which 1 may be unavailable
    And I request PUT /cluster/web/restart with {}
    And I remember the operation
    When the operation $operation is at the step reboot on 10.0.0.1
    Then the node of 10.0.0.1 is cordoned
    And no pods of shop are on the node of 10.0.0.1
    When the restart of web becomes finished
    Then the hosts 10.0.0.1 to 10.0.0.3 were rebooted once
    And never more than 1 host was down at once
    And the node of 10.0.0.1 is schedulable
    And the node of 10.0.0.2 is schedulable
    And the node of 10.0.0.3 is schedulable

  Scenario: A node is drained before its host is upgraded
    Given 6 pods of shop, of which 1 may be unavailable
    And I request PUT /cluster/web/upgrade with {"reboot": "always"}
    And I remember the operation
    When the operation $operation is at the step apply on 10.0.0.1
    Then the node of 10.0.0.1 is cordoned
    And no pods of shop are on the node of 10.0.0.1
    When the upgrade of web becomes finished
    Then 1 upgrade was run on 10.0.0.1
    And the node of 10.0.0.1 is schedulable

  Scenario: With the option drain: false nodes are rebooted with their pods
    Given 3 pods of shop, of which 0 may be unavailable
    And I request PUT /cluster/web/restart with {"drain": false}
    And I remember the operation
    When the operation $operation is at the step reboot on 10.0.0.1
    Then the node of 10.0.0.1 is schedulable
    When the restart of web becomes finished
    Then the hosts 10.0.0.1 to 10.0.0.3 were rebooted once

  Scenario: A dry run names the nodes, and the budgets that allow no eviction now
    Given 3 pods of shop, of which 0 may be unavailable
    When I run `commctl cluster restart start --dry-run web`
    Then the command succeeds
    And it prints "node: node-10-0-0-3"
    And it prints "disruption budget default/shop allows 0 disruptions now"
    And it prints "would_start: true"
    And no host was rebooted

  # Drains that are blocked

  Scenario: A drain that waits for a disruption budget says for which
    Given 3 pods of shop, of which 0 may be unavailable
    And I request PUT /cluster/web/restart with {}
    And I remember the operation
    When the operation $operation is at the step drain on 10.0.0.1
    And 10 seconds pass
    And I request GET /operation/$operation
    Then the field hosts.0.wait.reason is drain-blocked
    And the field hosts.0.wait.detail has "drain of node node-10-0-0-1: 1 pod cannot be evicted: disruption budget default/shop needs 3 healthy pods and has 3" in it

  Scenario: An operation whose nodes cannot be drained pauses until it is resumed
    Given 3 pods of shop, of which 0 may be unavailable
    And I request PUT /cluster/web/restart with {"drain": {"timeout": 60, "attempts": 1}}
    And I remember the operation
    When the operation $operation becomes paused
    Then no host was rebooted
    And the node of 10.0.0.1 is schedulable
    When I request GET /operation/$operation
    Then the field explanation.reason is drain-paused
    And the field hosts.0.step is pending
    And the field hosts.0.postponed has "disruption budget default/shop" in it
    When 1 pod of shop may be unavailable from now on
    And I request POST /operation/$operation/resume
    And the restart of web becomes finished
    Then the hosts 10.0.0.1 to 10.0.0.3 were rebooted once

  Scenario: A drain in vain fails its host with the option on_timeout: stop
    Given 3 pods of shop, of which 0 may be unavailable
    And I request PUT /cluster/web/restart with {"drain": {"timeout": 60, "on_timeout": "stop"}}
    And I remember the operation
    When the restart of web becomes failed
    Then no host was rebooted
    And the node of 10.0.0.1 is schedulable
    When I request GET /operation/$operation
    Then the field explanation.related.0.reason is drain-timeout

  Scenario: Only an administrator may have nodes rebooted whose drain was in vain
    Given 3 pods of shop, of which 0 may be unavailable
    When the operator requests PUT /cluster/web/restart with {"drain": {"timeout": 60, "on_timeout": "reboot"}}
    Then the status is 403
    And the answer says "`drain.on_timeout: reboot` needs the role admin"
    When I request PUT /cluster/web/restart with {"drain": {"timeout": 60, "on_timeout": "reboot"}}
    And the restart of web becomes finished
    Then the hosts 10.0.0.1 to 10.0.0.3 were rebooted once

  Scenario: Pods without a controller reject an operation that would evict them
    Given a pod lonely without a controller on the node of 10.0.0.2
    When I request PUT /cluster/web/restart with {}
    Then the status is 409
    And the answer says "1 pod blocks a drain: default/lonely has no controller (on node-10-0-0-2)"
    And no host was rebooted

  Scenario: Pods without a controller are evicted with the option --drain-force
    Given a pod lonely without a controller on the node of 10.0.0.2
    When I run `commctl cluster restart start --wait --drain-force web`
    Then the command succeeds
    And the pod lonely does not exist
    And the hosts 10.0.0.1 to 10.0.0.3 were rebooted once

  Scenario: With the option check: later only the hosts are postponed whose pods block
    Given a pod lonely without a controller on the node of 10.0.0.1
    And I request PUT /cluster/web/restart with {"drain": {"check": "later", "timeout": 60}}
    And I remember the operation
    When the operation $operation becomes paused
    Then the hosts 10.0.0.2 to 10.0.0.3 were rebooted once
    And the host 10.0.0.1 was not rebooted
    And the pod lonely exists

  # Nodes that do not come back

  Scenario: A node that does not become ready fails its host, and is uncordoned once it is ready
    Given I request PUT /cluster/web/restart with {"ready": {"timeout": 120}}
    And I remember the operation
    When the operation $operation is at the step verify on 10.0.0.1
    And the node of 10.0.0.1 stops being ready
    And the restart of web becomes failed
    Then the node of 10.0.0.1 is cordoned
    And the hosts 10.0.0.2 to 10.0.0.3 were not rebooted
    When I request GET /operation/$operation
    Then the field explanation.related.0.reason is node-not-ready
    And the field debts.0 is {"node": "node-10-0-0-1", "state": "kept"}
    When the node of 10.0.0.1 is ready again
    And 10 minutes pass
    Then the node of 10.0.0.1 is schedulable
    When I request GET /operation/$operation
    Then the field hosts.0.late is true
    And the field status is failed

  Scenario: A drain goes on after an outage of the API server
    Given 6 pods of shop, of which 1 may be unavailable
    And I request PUT /cluster/web/restart with {}
    And I remember the operation
    When the operation $operation is at the step drain on 10.0.0.1
    And the API server does not answer
    And 5 minutes pass
    Then no host was rebooted
    When the API server answers again
    And the restart of web becomes finished
    Then the hosts 10.0.0.1 to 10.0.0.3 were rebooted once
    And the node of 10.0.0.1 is schedulable

  Scenario: A node that could not be uncordoned is uncordoned later, also after the end of the operation
    Given I request PUT /cluster/web/restart with {"hosts": ["10.0.0.1"]}
    And I remember the operation
    When the operation $operation is at the step verify on 10.0.0.1
    And the API server changes no nodes
    And the restart of web becomes finished
    Then the node of 10.0.0.1 is cordoned
    When the API server changes nodes again
    And 5 minutes pass
    Then the node of 10.0.0.1 is schedulable

  # What others do

  Scenario: A node that others have cordoned is left alone
    Given others have cordoned the node of 10.0.0.2
    And I request PUT /cluster/web/restart with {"max_unavailable": 2}
    And I remember the operation
    When the restart of web becomes finished
    Then the host 10.0.0.2 was not rebooted
    And the host 10.0.0.1 was rebooted once
    And the host 10.0.0.3 was rebooted once
    And the node of 10.0.0.2 is cordoned
    When I request GET /operation/$operation
    Then the field hosts.2 is {"address": "10.0.0.2", "step": "skipped", "skipped": "the node node-10-0-0-2 is cordoned by others"}

  Scenario: Nodes that others have cordoned are restarted with the option include_cordoned, after the others, and stay cordoned
    Given others have cordoned the node of 10.0.0.1
    And I request PUT /cluster/web/restart with {"max_unavailable": 2, "drain": {"include_cordoned": true}}
    And I remember the operation
    When the operation $operation is at the step settle on 10.0.0.2
    Then the host 10.0.0.1 was not rebooted
    When the restart of web becomes finished
    Then the hosts 10.0.0.1 to 10.0.0.3 were rebooted once
    And the node of 10.0.0.1 is cordoned

  Scenario: A node that others keep unavailable uses the budget up
    Given others have cordoned the node of 10.0.0.3
    And I request PUT /cluster/web/restart with {"hosts": ["10.0.0.1", "10.0.0.2"]}
    And I remember the operation
    When 1 minute passes
    And I request GET /operation/$operation
    Then the field explanation.reason is node-budget
    And the field explanation.sentence has "at most 1 node of the Kubernetes may be unavailable at a time" in it
    And no host was rebooted
    When the operation $operation becomes paused
    And I request GET /operation/$operation
    Then the field explanation.reason is budget-timeout

  Scenario: A node that others uncordon during its drain is cordoned again, but only once
    Given 3 pods of shop, of which 0 may be unavailable
    And I request PUT /cluster/web/restart with {"drain": {"timeout": 300, "attempts": 1}}
    And I remember the operation
    When the operation $operation is at the step drain on 10.0.0.1
    And others uncordon the node of 10.0.0.1
    And 15 seconds pass
    Then the node of 10.0.0.1 is cordoned
    When others uncordon the node of 10.0.0.1
    And 15 seconds pass
    And I request GET /operation/$operation
    Then the field hosts.0.step is pending
    And the field hosts.0.postponed has "removed by others" in it
    And the host 10.0.0.1 was not rebooted

  # Budgets and majorities

  Scenario: Clusters on one Kubernetes share its budget
    Given the cluster db on Kubernetes with the nodes 10.0.0.4 to 10.0.0.6
    And I request PUT /cluster/web/restart with {}
    And I request PUT /cluster/db/restart with {}
    And the status is 201
    And I remember the operation
    When 20 seconds pass
    And I request GET /operation/$operation
    Then the field explanation.reason is node-budget
    When the restart of web becomes finished
    And the restart of db becomes finished
    Then the hosts 10.0.0.1 to 10.0.0.6 were rebooted once
    And never more than 1 host was down at once

  Scenario: Nodes of the control plane come after the workers, and one at a time
    Given the cluster web on Kubernetes with the nodes 10.0.0.4 to 10.0.0.5
    And the nodes of 10.0.0.1 to 10.0.0.3 are the control plane
    And I request PUT /cluster/web/restart with {"max_unavailable": 3}
    When the restart of web becomes finished
    Then the hosts were rebooted in the order 10.0.0.4, 10.0.0.5, 10.0.0.1, 10.0.0.2, 10.0.0.3

  Scenario: No node of the control plane is rebooted while another one is not ready
    Given the nodes of 10.0.0.1 to 10.0.0.3 are the control plane
    And the node of 10.0.0.3 stops being ready
    And 1 minute passes
    And I request PUT /cluster/web/restart with {"max_unavailable": 2, "hosts": ["10.0.0.1", "10.0.0.2"]}
    And I remember the operation
    When 1 minute passes
    And I request GET /operation/$operation
    Then the field explanation.reason is control-plane
    And no host was rebooted
    When the node of 10.0.0.3 is ready again
    And the restart of web becomes finished
    Then the hosts 10.0.0.1 to 10.0.0.2 were rebooted once

  Scenario: The last node on which pods can be scheduled is not drained
    Given others have cordoned the node of 10.0.0.2
    And others have cordoned the node of 10.0.0.3
    When I request PUT /cluster/web/restart with {"max_unavailable": 3}
    Then the status is 409
    And the answer says "node-10-0-0-1 is the only node on which pods can be scheduled"
    And the answer says "`drain: false`"

  Scenario: A quorum group keeps its majority over all clusters
    Given the cluster db with the host 10.0.0.9
    And I request PUT /host/10.0.0.1/placement with {"quorum_group": "etcd"}
    And I request PUT /host/10.0.0.2/placement with {"quorum_group": "etcd"}
    And I request PUT /host/10.0.0.9/placement with {"quorum_group": "etcd"}
    And the host 10.0.0.9 loses its power
    And the host 10.0.0.9 becomes failed
    And I request PUT /cluster/web/restart with {"max_unavailable": 2, "hosts": ["10.0.0.1", "10.0.0.2"]}
    And I remember the operation
    When 1 minute passes
    And I request GET /operation/$operation
    Then the field explanation.reason is quorum-group
    And no host was rebooted
    When the host 10.0.0.9 comes back
    And the restart of web becomes finished
    Then the hosts 10.0.0.1 to 10.0.0.2 were rebooted once
    And never more than 1 host was down at once

  Scenario: A quorum group that has no majority without a host rejects the restart of that host
    Given I request PUT /host/10.0.0.1/placement with {"quorum_group": "etcd"}
    And I request PUT /host/10.0.0.2/placement with {"quorum_group": "etcd"}
    When I request PUT /cluster/web/restart with {}
    Then the status is 409
    And the answer says "10.0.0.1 is one of 2 hosts of the quorum group etcd, which has no majority without it"

  # Single nodes

  Scenario: An operator cordons and uncordons a node
    When the operator requests PUT /host/10.0.0.1/cordon
    Then the status is 200
    And the answer is {"address": "10.0.0.1", "node": "node-10-0-0-1", "cordoned": true}
    And the node of 10.0.0.1 is cordoned
    When the operator requests DELETE /host/10.0.0.1/cordon
    Then the status is 200
    And the answer is {"address": "10.0.0.1", "node": "node-10-0-0-1", "cordoned": false}
    And the node of 10.0.0.1 is schedulable

  Scenario: commctl cordons and uncordons a node
    When I run `commctl host cordon 10.0.0.1`
    Then the command succeeds
    And it prints "cordoned: true"
    And the node of 10.0.0.1 is cordoned
    When I run `commctl host uncordon 10.0.0.1`
    Then the command succeeds
    And it prints "cordoned: false"
    And the node of 10.0.0.1 is schedulable

  Scenario: Nodes that are still cordoned are explained, with who has cordoned them
    Given the operator requests PUT /host/10.0.0.1/cordon
    When I run `commctl explain`
    Then the command succeeds
    And it prints "node-cordoned"
    And it prints "the node node-10-0-0-1 of 10.0.0.1: cordoned by operator"

  Scenario: Operations leave a node alone that an operator has cordoned
    Given I request PUT /host/10.0.0.1/cordon
    And I request PUT /cluster/web/restart with {"max_unavailable": 2}
    And I remember the operation
    When the restart of web becomes finished
    Then the host 10.0.0.1 was not rebooted
    And the hosts 10.0.0.2 to 10.0.0.3 were rebooted once
    And the node of 10.0.0.1 is cordoned
    When I request GET /operation/$operation
    Then the field hosts.2 is {"address": "10.0.0.1", "step": "skipped"}
    And the field hosts.2.skipped has "cordoned by" in it

  Scenario: The cordon of others is removed on request only
    Given others have cordoned the node of 10.0.0.1
    When I request DELETE /host/10.0.0.1/cordon
    Then the status is 409
    And the answer says "the node node-10-0-0-1 is cordoned by others: nothing was changed"
    And the node of 10.0.0.1 is cordoned
    When I request DELETE /host/10.0.0.1/cordon?foreign
    Then the status is 200
    And the node of 10.0.0.1 is schedulable

  Scenario: commctl removes the cordon of others with --foreign
    Given others have cordoned the node of 10.0.0.1
    When I run `commctl host uncordon 10.0.0.1`
    Then the command exits with 1
    And it says "remove the cordon of others with `commctl host uncordon --foreign`"
    When I run `commctl host uncordon --foreign 10.0.0.1`
    Then the command succeeds
    And the node of 10.0.0.1 is schedulable

  Scenario Outline: A node is not cordoned, drained or placed during an operation on its cluster
    Given I request PUT /cluster/web/restart with {}
    When I request <request> with {}
    Then the status is 409
    And the answer says "in process"

    Examples:
      | request                      |
      | PUT /host/10.0.0.3/cordon    |
      | POST /host/10.0.0.3/drain    |
      | PUT /host/10.0.0.3/placement |

  Scenario Outline: A reader changes nothing about a node
    When the reader requests <request> with {}
    Then the status is 403
    And the answer says "this needs the role <role>, and reader has the role reader"
    And the node of 10.0.0.1 is schedulable

    Examples:
      | request                      | role     |
      | PUT /host/10.0.0.1/cordon    | operator |
      | DELETE /host/10.0.0.1/cordon | operator |
      | POST /host/10.0.0.1/drain    | operator |
      | PUT /host/10.0.0.1/placement | admin    |

  Scenario Outline: A host in no cluster has no node
    Given the registered host 10.0.0.9
    When I request <request> with {}
    Then the status is 409
    And the answer says "10.0.0.9 is in no cluster, so it has no container manager"

    Examples:
      | request                      |
      | PUT /host/10.0.0.9/cordon    |
      | DELETE /host/10.0.0.9/cordon |
      | POST /host/10.0.0.9/drain    |

  Scenario: A host in a cluster without a Kubernetes is no node
    Given the cluster plain with the host 10.0.0.9
    When I request PUT /host/10.0.0.9/cordon
    Then the status is 409
    And the answer says "10.0.0.9 is no node: its cluster has no Kubernetes"
    When I run `commctl host drain --wait 10.0.0.9`
    Then the command exits with 1
    And it says "10.0.0.9 was not drained: it is no node"

  Scenario: A drained node stays cordoned, and its host is not rebooted
    Given 6 pods of shop, of which 1 may be unavailable
    When the operator requests POST /host/10.0.0.1/drain with {}
    Then the status is 202
    When I remember operation as operation
    And the operation $operation becomes finished
    Then no pods of shop are on the node of 10.0.0.1
    And the node of 10.0.0.1 is cordoned
    And no host was rebooted
    When I request GET /operation/$operation
    Then the answer is {"kind": "drain", "cluster": "web", "hosts": [{"address": "10.0.0.1", "step": "done"}]}
    When I request DELETE /host/10.0.0.1/cordon
    Then the node of 10.0.0.1 is schedulable

  Scenario: commctl drains a node, and waits until its pods are gone
    Given 6 pods of shop, of which 1 may be unavailable
    When I run `commctl host drain --wait 10.0.0.1`
    Then the command succeeds
    And it says "10.0.0.1 drain ok: drained; its node stays cordoned"
    And no pods of shop are on the node of 10.0.0.1
    And the node of 10.0.0.1 is cordoned

  Scenario: A dry run of a drain says what blocks it
    Given a pod lonely without a controller on the node of 10.0.0.1
    When I run `commctl host drain --dry-run 10.0.0.1`
    Then the command exits with 1
    And it prints "would_start: false"
    And it says "the drain of 10.0.0.1 would not start: 1 pod blocks a drain: default/lonely has no controller"
    And the node of 10.0.0.1 is schedulable

  Scenario: A node is drained before its host leaves the cluster
    Given 6 pods of shop, of which 1 may be unavailable
    When I run `commctl host unjoin 10.0.0.1 web`
    Then the command succeeds
    And it says "its node stays cordoned: commctl host uncordon 10.0.0.1"
    And no pods of shop are on the node of 10.0.0.1
    And the node of 10.0.0.1 is cordoned
    When I run `commctl host uncordon 10.0.0.1`
    Then the command succeeds
    And the node of 10.0.0.1 is schedulable

  Scenario: A node is drained before its host is deleted
    Given 6 pods of shop, of which 1 may be unavailable
    When I run `commctl host delete 10.0.0.1`
    Then the command succeeds
    And it says "deleted 10.0.0.1"
    And no pods of shop are on the node of 10.0.0.1
    And the node of 10.0.0.1 is cordoned

  Scenario: A host whose node cannot be drained is not deleted
    Given a pod lonely without a controller on the node of 10.0.0.1
    When I run `commctl host delete 10.0.0.1`
    Then the command exits with 1
    And it says "default/lonely has no controller"
    And it says "nothing was removed: drain it later, or leave its pods where they are with --no-drain"
    When I request GET /host/10.0.0.1
    Then the status is 200

  Scenario: With --no-drain a host leaves its cluster, and its pods stay
    Given 6 pods of shop, of which 1 may be unavailable
    When I run `commctl host unjoin --no-drain 10.0.0.1 web`
    Then the command succeeds
    And 2 pods of shop are on the node of 10.0.0.1
    And the node of 10.0.0.1 is schedulable

  # Placement

  Scenario: An administrator sets the node and the quorum group of a host
    When I request PUT /host/10.0.0.1/placement with {"node_name": "node-10-0-0-1", "quorum_group": "etcd"}
    Then the status is 200
    When the reader requests GET /host/10.0.0.1/placement
    Then the status is 200
    And the answer is {"node_name": "node-10-0-0-1", "quorum_group": "etcd"}
    When I request PUT /host/10.0.0.1/placement with {"quorum_group": "etcd"}
    Then the answer is {"node_name": null, "quorum_group": "etcd"}

  Scenario: commctl keeps what it is not given, and unsets what is empty
    Given I run `commctl host place --node-name node-10-0-0-1 10.0.0.1`
    When I run `commctl host place --quorum-group etcd 10.0.0.1`
    Then the command succeeds
    And it prints:
      """
      node_name: node-10-0-0-1
      quorum_group: etcd
      """
    When I run `commctl host place --quorum-group= 10.0.0.1`
    Then the command succeeds
    And it prints:
      """
      node_name: node-10-0-0-1
      quorum_group: null
      """

  Scenario: A node without the address of its host is found by the name that an administrator has set
    Given the node of 10.0.0.1 has another address
    When I request PUT /cluster/web/restart with {}
    Then the status is 409
    And the answer says "10.0.0.1 runs a kubelet, and no node has its address or its name"
    When I run `commctl host place --node-name node-10-0-0-1 10.0.0.1`
    And I request PUT /cluster/web/restart with {}
    And the restart of web becomes finished
    Then the hosts 10.0.0.1 to 10.0.0.3 were rebooted once

  Scenario: A host is not rebooted as the node of another machine
    Given I request PUT /host/10.0.0.1/placement with {"node_name": "node-10-0-0-2"}
    When I request PUT /cluster/web/restart with {}
    Then the status is 409
    And the answer says "10.0.0.1 is not the machine behind the node node-10-0-0-2"
    And no host was rebooted
