Feature: Setting commctl up
  commctl login writes the configuration, a context for each server.
  Exit status: 0 success, 1 the server refuses or finds nothing, 2 wrong usage or configuration, 3 no endpoint can be reached.

  Scenario: A user logs in, and logs out
    Given ann has never used commctl
    And I remember the address of the server as server
    When ann runs `commctl login $server --username operator` with the input:
      """
      secret
      """
    Then the command succeeds
    And it says "logged in to $server as "operator""
    And it does not say "secret"
    When ann runs `commctl whoami`
    Then the command succeeds
    And it prints "name: operator"
    When ann runs `commctl logout`
    Then the command succeeds
    And it says "removed the password of "operator""
    And the file .commissaire.json of ann has not "secret" in it
    And the file .commissaire.json of ann has "$server" in it

  @real
  Scenario: Nothing is written after a rejected log-in
    Given ann has never used commctl
    And I remember the address of the server as server
    When ann runs `commctl login $server --username operator` with the input:
      """
      wrong
      """
    Then the command exits with 1
    And it says "nothing was saved"
    And there is no file .commissaire.json of ann

  @real
  Scenario: A log-in needs a password
    Given ann has never used commctl
    And I remember the address of the server as server
    When ann runs `commctl login $server`
    Then the command exits with 2
    And it says "the password of admin is empty"
    And there is no file .commissaire.json of ann

  @real
  Scenario: A password is not sent over plain HTTP to another machine
    Given ann has never used commctl
    When ann runs `commctl login http://10.0.0.9:8000` with the input:
      """
      secret
      """
    Then the command exits with 2
    And it says "is plain HTTP on another machine"
    And it says "No password was sent, and nothing was saved."

  @real
  Scenario: Logging out without a log-in is no error
    Given ann has never used commctl
    When ann runs `commctl logout`
    Then the command succeeds
    And it says "not logged in: nothing was deleted"

  @real
  Scenario: Each server is a context
    Given I remember the address of the server as server
    When I run `commctl login --context prod $server --username reader` with the input:
      """
      secret
      """
    Then the command succeeds
    When I run `commctl --context prod whoami`
    Then the command succeeds
    And it prints "context: prod"
    And it prints "name: reader"
    When I run `commctl whoami`
    Then it prints "name: admin"
    And it does not print "context"

  @real
  Scenario: A context is used until another one is chosen
    Given ann has never used commctl
    And I remember the address of the server as server
    When ann runs `commctl login --context prod $server --username reader` with the input:
      """
      secret
      """
    And ann runs `commctl context current`
    Then it prints:
      """
      default
      """
    When ann runs `commctl context use prod`
    Then the command succeeds
    And it says "the context is prod now"
    When ann runs `commctl context current`
    Then it prints:
      """
      prod
      """
    When ann runs `commctl whoami`
    Then it prints "name: reader"
    When ann runs `commctl context use default`
    Then the command succeeds
    When ann runs `commctl context current`
    Then it prints:
      """
      default
      """

  @real
  Scenario: Contexts are listed with their servers and users
    Given I remember the address of the server as server
    When I run `commctl login --context prod $server --username reader` with the input:
      """
      secret
      """
    And I run `commctl --output json context list`
    Then the command succeeds
    And it prints ""name": "default""
    And it prints ""name": "prod""
    And it prints ""endpoint": "$server""
    And it prints ""user": "reader""
    And it does not print "secret"

  @real
  Scenario: A deleted context is gone, and the default one is used
    Given I remember the address of the server as server
    When I run `commctl login --context prod $server --username reader` with the input:
      """
      secret
      """
    And I run `commctl context use prod`
    And I run `commctl context delete prod`
    Then the command succeeds
    And it says "the context is default now"
    And it says "deleted prod"
    And there is no file .commissaire/prod.json of admin
    When I run `commctl --context prod whoami`
    Then the command exits with 2
    And it says "there is no context prod: `commctl login --context prod ENDPOINT` makes it"

  @real
  Scenario Outline: A context that does not exist is wrong usage: <command>
    When I run `commctl <command>`
    Then the command exits with 2
    And it says "there is no context prod"

    Examples:
      | command              |
      | context use prod     |
      | context delete prod  |
      | --context prod whoami |

  @real
  Scenario: The default context cannot be deleted
    When I run `commctl context delete default`
    Then the command exits with 2
    And it says "the context default cannot be deleted"

  @real
  Scenario: A context and a file cannot be named both
    When I run `commctl --config a.json --context prod whoami`
    Then the command exits with 2
    And it says "leave one out"

  @real
  Scenario: A configuration file can be named
    Given I remember the address of the server as server
    And the file ci.json of ann:
      """
      {"endpoint": "$server", "username": "reader", "password": "secret"}
      """
    When ann runs `commctl --config ci.json whoami`
    Then the command succeeds
    And it prints "name: reader"

  @real
  Scenario Outline: A configuration that is <what> is an error that names the file
    Given the file .commissaire.json of ann:
      """
      <text>
      """
    When ann runs `commctl cluster list`
    Then the command exits with 2
    And it says ".commissaire.json"
    And it says "<words>"
    And it prints nothing

    Examples:
      | what                   | text                                                                          | words                        |
      | no JSON                | {"endpoint":                                                                  | is not valid JSON            |
      | misspelt               | {"endpoit": "http://127.0.0.1:1", "username": "a", "password": "b"}           | did you mean "endpoint"?     |
      | without a user name    | {"endpoint": "http://127.0.0.1:1"}                                            | no username is configured    |
      | without a password     | {"endpoint": "http://127.0.0.1:1", "username": "a"}                           | no password is configured    |
      | without an endpoint    | {"username": "a", "password": "b"}                                            | no endpoint is configured    |

  @real
  Scenario: A named configuration file that does not exist is an error
    When I run `commctl --config none.json cluster list`
    Then the command exits with 2
    And it says "cannot read the configuration none.json"

  @real
  Scenario: Without a configuration commctl names the log-in
    Given ann has never used commctl
    When ann runs `commctl cluster list`
    Then the command exits with 2
    And it says "commctl login makes it"

  @real
  Scenario: A configuration with a password that others can read earns a warning
    Given I remember the address of the server as server
    And the file .commissaire.json of ann:
      """
      {"endpoint": "$server", "username": "reader", "password": "secret"}
      """
    When ann runs `commctl cluster list`
    Then the command succeeds
    And it says "holds a password and others can read it; run: chmod 600"

  @real
  Scenario: A server that cannot be reached is exit status 3
    Given the file .commissaire.json of ann:
      """
      {"endpoint": "http://127.0.0.1:1", "username": "reader", "password": "secret"}
      """
    When ann runs `commctl cluster list`
    Then the command exits with 3
    And it says "cannot reach http://127.0.0.1:1"

  @real
  Scenario: The endpoints of a list are tried in order
    Given I remember the address of the server as server
    And the file .commissaire.json of ann:
      """
      {"endpoint": ["http://127.0.0.1:1", "$server"], "username": "reader", "password": "secret"}
      """
    When ann runs `commctl whoami`
    Then the command succeeds
    And it prints "name: reader"
    And it says "http://127.0.0.1:1"

  @real
  Scenario: A wrong password in the configuration is exit status 1
    Given I remember the address of the server as server
    And the file .commissaire.json of ann:
      """
      {"endpoint": "$server", "username": "reader", "password": "wrong"}
      """
    When ann runs `commctl cluster list`
    Then the command exits with 1
    And it says "(403 Forbidden)"
    And it says "wrong user name or password, or no permission"

  @real
  Scenario Outline: A hash of a password has the given strength: <rounds>
    When I run `commctl passhash --file - --rounds <rounds>` with the input:
      """
      secret
      """
    Then the command succeeds
    And it prints "$2b$<rounds>$"
    And it does not print "secret"

    Examples:
      | rounds |
      | 04     |
      | 05     |

  @real
  Scenario Outline: A password that is <what> has no hash
    When I run `commctl passhash --rounds 4 --password <password>`
    Then the command exits with 2
    And it says "<words>"
    And it prints nothing

    Examples:
      | what                 | password                                                                  | words                |
      | longer than 72 bytes | 1234567890123456789012345678901234567890123456789012345678901234567890123 | longer than 72 bytes |
      | empty                | ''                                                                        | the password is empty |

  @real
  Scenario: Without a terminal the password has to be given
    When I run `commctl passhash`
    Then the command exits with 2
    And it says "there is no terminal to ask on"

  @real
  Scenario Outline: commctl completes commands in <shell>
    When I run `commctl completion <shell>`
    Then the command succeeds
    And it prints "<words>"
    And it prints "user-data"

    Examples:
      | shell | words             |
      | bash  | complete -F       |
      | zsh   | #compdef commctl  |
      | fish  | complete -c commctl |

  Scenario: commctl writes a man page for each command
    When I run `commctl man pages`
    Then the command succeeds
    And it prints nothing
    And the file pages/commctl-cluster-restart-start.1 of admin has ".TH" in it
    And the file pages/commctl.1 of admin has "Exit status" in it

  @real
  Scenario: commctl explains itself
    When I run `commctl --help`
    Then the command succeeds
    And it prints "Usage: commctl [OPTIONS] <COMMAND>"
    And it prints "Exit status: 0 success; 1 the server refuses or finds nothing"

  @real
  Scenario: commctl explains a command, with examples
    When I run `commctl help cluster restart start`
    Then the command succeeds
    And it prints "Usage: commctl cluster restart start"
    And it prints "Example"

  @real
  Scenario Outline: Wrong usage is exit status 2, with what was meant: <command>
    When I run `commctl <command>`
    Then the command exits with 2
    And it says "<words>"
    And it prints nothing

    Examples:
      | command                     | words                                  |
      | clutser list                | a similar subcommand exists: 'cluster' |
      | cluster list --ouput json   | a similar argument exists: '--output'  |
      | completion tcsh             | possible values: bash                  |
      | --output xml cluster list   | possible values: yaml, json, table, wide, name |
      | --context Prod whoami       | the name of a context is               |
      | cluster delete              | required arguments                     |
