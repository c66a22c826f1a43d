// The command line as whoever types it meets it: what it says to what is misspelt, where it gets
// its host and its token from, what it completes, what it asks before it hides or removes.
#include <sys/stat.h>

#include <algorithm>
#include <cctype>
#include <fstream>
#include <set>
#include <sstream>

#include "e2e/rest.hpp"
#include "e2e/terminal.hpp"
#include "e2e/world.hpp"

namespace sluice::e2e {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

const std::string kProgram = std::string(SLUICE_BINARY_DIR) + "/bin/sluice";

/// Read, linked and quiet; made once for all tests here, which leave "billing" as it is.
class Stage : public World {
 public:
  Stage() {
    start_fake(20);
    host_->start();
    connect();
    import_own(8);
    host_->client().global("POST", "/v1/workspaces", json::parse(R"({"name":"other"})"));
    other_admin = token("other", "admin");
    admin = token("acme", "admin");
    reader = token("acme", "reader");
    if (!settled()) throw std::runtime_error("the stage does not settle: " + host_->log());
  }
  void TestBody() override {}
  Host& host() { return *host_; }
  const fs::path& directory() { return directory_; }
  std::string token(const std::string& workspace, const std::string& role) {
    return new_token(host_->url(), host_->token(), workspace, role);
  }

  std::string admin, reader, other_admin;
};

class Tool : public ::testing::Test {
 protected:
  static void SetUpTestSuite() { stage_ = new Stage(); }
  static void TearDownTestSuite() {
    delete stage_;
    stage_ = nullptr;
  }

  static Said cli(std::vector<std::string> words, const std::string& token = "",
                  const std::string& url = "") {
    return run_sluice(stage_->directory(), url.empty() ? stage_->host().url() : url,
                      token.empty() ? stage_->host().token() : token, std::move(words));
  }
  /// With nothing in the environment but the place of the configuration file.
  Said alone(const std::string& command, const std::map<std::string, std::string>& more = {}) {
    Launch launch;
    launch.program = "/bin/sh";
    launch.arguments = {"-c", command};
    launch.environment = bare();
    for (const auto& [name, value] : more) launch.environment[name] = value;
    const std::string name = "alone." + std::to_string(++runs_);
    launch.output = home_ / (name + ".out");
    launch.errors = home_ / (name + ".err");
    Process process(launch);
    Said said;
    said.code = process.wait();
    said.output = read_file(launch.output);
    said.errors = read_file(launch.errors);
    return said;
  }
  std::map<std::string, std::string> bare() const {
    std::map<std::string, std::string> environment = {
        {"XDG_CONFIG_HOME", home_.string()}, {"HOME", home_.string()}, {"sluice", kProgram}};
    for (const char* name : {"SLUICE_URL", "SLUICE_TOKEN", "SLUICE_WORKSPACE", "SLUICE_CONTEXT",
                             "SLUICE_CA_FILE", "SLUICE_INSECURE"})
      environment[name] = "";
    return environment;
  }
  fs::path config_file() const { return home_ / "sluice/config.json"; }

  void SetUp() override {
    home_ = stage_->directory() / ("home." + std::to_string(++homes_));
    fs::create_directory(home_);
  }

  static inline int homes_ = 0;
  int runs_ = 0;
  static inline Stage* stage_ = nullptr;
  fs::path home_;
};

/// "sluice: …", what to do, and the code: one message, whatever it is about.
void expect_one_message(const Said& said, const std::string& line) {
  EXPECT_TRUE(said.errors.starts_with("sluice: ")) << line << "\n" << said.errors;
  const auto lines = std::count(said.errors.begin(), said.errors.end(), '\n');
  EXPECT_TRUE(lines == 2 || lines == 3) << line << "\n" << said.errors;
  EXPECT_EQ(said.errors.find("what()"), std::string::npos) << said.errors;
  EXPECT_EQ(said.output, "") << line;
}

std::string joined(const std::vector<std::string>& words) {
  std::string all;
  for (const std::string& word : words) all += (all.empty() ? "" : " ") + word;
  return all;
}

/// Names below "Commands:" of a help.
std::vector<std::string> commands_in(const std::string& help) {
  std::vector<std::string> names;
  std::istringstream lines(help);
  bool inside = false;
  for (std::string line; std::getline(lines, line);) {
    if (line == "Commands:") inside = true;
    if (line.empty()) inside = false;
    if (inside && line.size() > 2 && line[2] != ' ' && line[0] == ' ')
      names.push_back(line.substr(2, line.find(' ', 2) - 2));
  }
  return names;
}

using Words = std::vector<std::string>;

/// Each command with those that it is a group of, by what `sluice help` says.
void find_commands(const Words& path, std::vector<Words>& found,
                   const std::function<Said(Words)>& run) {
  Words words = path;
  words.insert(words.begin(), "help");
  const Said help = run(words);
  EXPECT_EQ(help.code, 0) << joined(words) << help.errors;
  for (const std::string& name : commands_in(help.output)) {
    Words below = path;
    below.push_back(name);
    found.push_back(below);
    find_commands(below, found, run);
  }
}

/// Two letters of it in the wrong order, the last ones that are not the same.
std::string misspelt(std::string word) {
  for (std::size_t at = word.size() - 1; at > 0; --at) {
    if (word[at] == word[at - 1]) continue;
    std::swap(word[at], word[at - 1]);
    break;
  }
  return word;
}

TEST_F(Tool, every_command_misspelt_in_each_word_is_told_as_it_is_typed_right) {
  const auto run = [](Words words) { return cli(std::move(words)); };
  std::vector<Words> commands;
  find_commands({}, commands, run);
  EXPECT_GE(commands.size(), 60U);
  for (const Words& command : commands) {
    for (std::size_t at = 0; at < command.size(); ++at) {
      Words typed = command;
      typed[at] = misspelt(typed[at]);
      const Said said = run(typed);
      const std::string line = joined(typed);
      EXPECT_EQ(said.code, 64) << line << "\n" << said.output;
      expect_one_message(said, line);
      EXPECT_NE(said.errors.find(typed[at] + "'"), std::string::npos) << said.errors;
      EXPECT_NE(said.errors.find("Did you mean: sluice " + joined(command) + "\n"),
                std::string::npos)
          << line << "\n"
          << said.errors;
    }
    Words typed = command;
    typed.push_back("--jsno");
    const Said said = run(typed);
    EXPECT_EQ(said.code, 64) << joined(typed);
    EXPECT_NE(said.errors.find("Did you mean --json?"), std::string::npos) << said.errors;
  }
}

TEST_F(Tool, every_help_fits_has_the_options_of_all_commands_and_an_example_that_can_be_typed) {
  const auto run = [](Words words) { return cli(std::move(words)); };
  std::vector<Words> commands = {{}};
  find_commands({}, commands, run);
  for (const Words& command : commands) {
    Words words = command;
    words.insert(words.begin(), "help");
    const std::string help = run(words).output;
    words = command;
    words.emplace_back("--help");
    EXPECT_EQ(run(words).output, help) << joined(command);
    for (const char* part : {"--json", "--workspace", "--context", "--url", "\nExample:\n"})
      EXPECT_NE(help.find(part), std::string::npos) << joined(command) << " lacks " << part;
    if (!command.empty() && command.front() != "completion")
      EXPECT_NE(help.rfind("sluice " + joined(command)), std::string::npos) << help;
    EXPECT_GT(help.rfind("sluice " + joined(command)), help.find("\nExample:\n")) << help;
    std::istringstream lines(help);
    bool is_example = false;
    for (std::string line; std::getline(lines, line);) {
      std::size_t width = 0;
      for (const char c : line) width += (c & 0xC0) != 0x80 ? 1 : 0;
      if (line == "Example:") is_example = true;
      if (!is_example) EXPECT_LE(width, 80U) << joined(command) << ": " << line;
      const auto at = line.find("sluice ");
      if (!is_example || at == std::string::npos || line.find("<(") != std::string::npos) continue;
      // What it says is a command and its options, though what it names is not there.
      std::istringstream parts(line.substr(at + 7));
      Words example;
      for (std::string part; parts >> part && part != "#";)
        if (part.starts_with("-")) example.push_back(part);
      for (const std::string& option : example)
        EXPECT_NE(help.find(option), std::string::npos) << joined(command) << ": " << line;
    }
  }
}

TEST_F(Tool, a_word_that_is_no_value_is_one_message_that_says_what_would_be) {
  struct Case {
    Words words;
    int code;
    std::string says;
  };
  const std::vector<Case> cases = {
      {{}, 64, "sluice help"},
      {{"run", "24"}, 64, "sluice run show 24"},
      {{"entity"}, 64, "sluice help entity"},
      {{"entity", "remove", "customer", "1"}, 64, "sluice entity delete"},
      {{"connector", "uninstall", "stripe"}, 64, "sluice connector disable"},
      {{"list"}, 64, "sluice connection list"},
      {{"help", "conection"}, 64, "sluice connection"},
      {{"completion", "fish"}, 64, "sluice completion bash"},
      {{"status", "a", "b"}, 64, "Usage: sluice status [CONNECTION]"},
      {{"status", "--wait"}, 64, "--wait needs a value"},
      {{"status", "--wait", "soon"}, 64, "--wait takes a whole number"},
      {{"runs", "--limit", "ten"}, 64, "--limit takes a whole number"},
      {{"runs", "--limit", "0"}, 65, "1 to 1000"},
      {{"entity", "list"}, 64, "Usage: sluice entity list TYPE"},
      {{"entity", "list", "customer", "--filter", "x"}, 64, "name=value"},
      {{"connection", "create", "x"}, 64, "needs --connector"},
      {{"connection", "interval", "billing", "invoices", "often"}, 64, "whole number"},
      {{"token", "create", "x", "--role", "king"}, 65, "\"reader\", \"admin\", \"operator\""},
      {{"audit", "--since", "tomorrow"}, 65, "30m, 12h, 7d"},
      {{"audit", "--cursor", "17"}, 65, "\"next\""},
      {{"context", "use", "nowhere"}, 65, "sluice login URL"},
      {{"status", "biling"}, 65, "Did you mean 'billing'?"},
      {{"sync", "billing", "--stream", "invoces"}, 65, "Did you mean 'invoices'?"},
      {{"connection", "pause", "billing", "costumers"}, 65, "Did you mean 'customers'?"},
      {{"entity", "list", "stripe.invoce"}, 65, "Did you mean 'stripe.invoice'?"},
      {{"entity", "type", "custmer"}, 65, "Did you mean 'customer'?"},
      {{"connector", "show", "strip"}, 65, "Did you mean 'stripe'?"},
      {{"connector", "install", "stirpe"}, 65, "Did you mean 'stripe'?"},
      {{"-w", "acm", "status"}, 65, "This token knows: acme, other"},
      {{"runs", "billing", "--stream", "invoces"}, 65, "Did you mean 'invoices'?"},
      {{"entity", "list", "customer", "--fields", "emial"}, 65, "Did you mean 'email'?"},
      {{"entity", "list", "customer", "--sort", "-emial"}, 65, "Did you mean 'email'?"},
      {{"entity", "list", "customer", "--filter", "emial=a@x.com"}, 65, "Did you mean 'email'?"},
      {{"entity", "create", "customer", "emial=a@x.com"}, 65, "Did you mean 'email'?"},
      {{"link", "list", "--state", "linkd"}, 65, "did you mean 'linked'?"},
      {{"entity", "list", "stripe.customer", "--filter",
        "link.stripe.customer.email[state]=contestd"},
       65,
       "Did you mean 'contested'?"},
      {{"entity", "create-type", "x", "a:text:format=emial"}, 65, "Did you mean 'email'?"},
      {{"connection", "create", "x", "--connector", "strpe"}, 65, "Did you mean 'stripe'?"},
      {{"entity", "list", "customer", "-o", "cvs"}, 64, "did you mean 'csv'?"},
      {{"entity", "create-type", "x", "a:txt"}, 65, "Did you mean 'text'?"},
      {{"entity", "create-type", "x", "a:text:key=emial"}, 65, "Did you mean 'email'?"},
      {{"link", "add-rule", "r", "--from", "stripe.customer.email", "--to", "customer.email",
        "--by", "emial"},
       65,
       "Did you mean 'email'?"},
      {{"link", "add-rule", "r", "--from", "stripe.customer.emial", "--to", "customer.email",
        "--by", "email"},
       65,
       "Did you mean 'stripe.customer.email'?"},
      {{"token", "revoke", "4711", "--dry-run"}, 65, "token.not_found"},
      {{"token", "revoke", "test", "--dry-run"}, 65, "A token is named by its id; of that name is"},
      {{"connector", "disable", "stirpe", "--dry-run"}, 65, "Did you mean 'stripe'?"},
      {{"connection", "delete", "biling"}, 65, "Did you mean 'billing'?"},
      {{"connection", "delete", "billing"}, 65, "sluice connection disable billing"},
      {{"entity", "drop-attribute", "stripe.customer", "emial", "--dry-run"},
       65,
       "stripe.customer has no attribute 'emial'"},
      {{"entity", "drop-attribute", "stripe.customer", "email", "--dry-run"},
       65,
       "was not added by a path"},
      {{"reconcile", "confirm", "billing", "invoces", "--dry-run"}, 65, "Did you mean 'invoices'?"},
      {{"reconcile", "confirm", "billing", "invoices", "--dry-run"}, 65, "waits for no decision"},
      {{"sql-user", "delete", "nobody"}, 65, "there is no login 'nobody'"},
      {{"status", "--wait", "-5"}, 64, "--wait: takes 0 seconds or more"},
      {{"sync", "billing", "--wait", "--timeout", "-5"}, 64, "takes 0 seconds or more"},
      {{"--url", "nonsense", "status"}, 64, "Such as http://127.0.0.1:8420"},
      {{"entity", "import", "customer", "nofile.csv"}, 65, "No such file or directory"},
      {{"entity", "import", "customer", "/tmp"}, 65, "Is a directory"},
      {{"connection", "create", "b2", "--connector", "stripe", "--interval", "invoices=soon",
        "--secret", "api_key=@HOME"},
       64,
       "--interval invoices must be a whole number"},
  };
  for (const Case& one : cases) {
    const Said said = cli(one.words);
    EXPECT_EQ(said.code, one.code) << joined(one.words) << "\n" << said.errors << said.output;
    expect_one_message(said, joined(one.words));
    EXPECT_NE(said.errors.find(one.says), std::string::npos) << joined(one.words) << "\n"
                                                             << said.errors;
  }
}

TEST_F(Tool, runs_say_of_a_failed_one_why_in_a_line_of_its_own) {
  const std::string file = home_ / "nothing.csv";
  std::ofstream(file).close();
  EXPECT_EQ(cli({"entity", "import", "customer", file}).code, 65);
  const Said said = cli({"runs", "--limit", "5"});
  EXPECT_EQ(said.code, 0) << said.errors;
  const auto at = said.output.find("\nrun ");
  ASSERT_NE(at, std::string::npos) << said.output;
  const std::string line = said.output.substr(at + 1, said.output.find('\n', at + 1) - at - 1);
  EXPECT_TRUE(line.ends_with(": import.empty: the file is empty")) << said.output;
}

/// A server that answers everything with the same.
class Answering {
 public:
  Answering(const fs::path& directory, const std::string& body, const std::string& version)
      : program_(directory / "answering.py") {
    std::ofstream(program_) << R"(
import http.server, sys
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        body = sys.argv[1].encode()
        if self.path == "/openapi.json" and sys.argv[2]:
            body = ('{"openapi":"3.1.0","info":{"title":"Sluice","version":"%s"}}' % sys.argv[2]).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    do_POST = do_PUT = do_PATCH = do_DELETE = do_GET
    def log_message(self, *args): pass
server = http.server.HTTPServer(("127.0.0.1", 0), Handler)
print(server.server_port, flush=True)
server.serve_forever()
)";
    Launch launch;
    launch.program = "/usr/bin/python3";
    launch.arguments = {program_.string(), body, version};
    static int servers = 0;
    const std::string name = "answering." + std::to_string(++servers);
    launch.output = directory / (name + ".out");
    launch.errors = directory / (name + ".err");
    process_ = std::make_unique<Process>(launch);
    EXPECT_TRUE(eventually(std::chrono::seconds(20), [&] {
      return read_file(launch.output).find('\n') != std::string::npos;
    }));
    const std::string port = read_file(launch.output);
    url_ = "http://127.0.0.1:" + port.substr(0, port.find('\n'));
  }
  [[nodiscard]] const std::string& url() const { return url_; }

 private:
  fs::path program_;
  std::unique_ptr<Process> process_;
  std::string url_;
};

TEST_F(Tool, who_answers_wrongly_or_not_at_all_is_told_with_what_to_do) {
  Said said = cli({"status"}, stage_->other_admin);
  EXPECT_EQ(said.code, 65);
  expect_one_message(said, "a token of another workspace");
  EXPECT_NE(said.errors.find("This token knows: other. Name one with -w"), std::string::npos)
      << said.errors;

  said = cli({"status"}, "", "http://127.0.0.1:1");
  EXPECT_EQ(said.code, 69);
  expect_one_message(said, "nobody there");
  EXPECT_NE(said.errors.find("--url"), std::string::npos) << said.errors;

  {
    const Answering page(home_, "<html>It works</html>", "");
    said = cli({"status"}, "", page.url());
    EXPECT_EQ(said.code, 70);
    expect_one_message(said, "no Sluice");
    EXPECT_NE(said.errors.find("Is that really sluiced?"), std::string::npos) << said.errors;
  }
  {
    const Answering newer(home_, R"({"fleet":[],"moons":{"of":"jupiter"}})", "99.1.0");
    said = cli({"connector", "list"}, "", newer.url());
    EXPECT_EQ(said.code, 65) << said.errors;
    expect_one_message(said, "newer");
    EXPECT_NE(said.errors.find("sluiced 99.1.0"), std::string::npos) << said.errors;
  }
  {  // What is only more than we know is in nobody's way.
    const Answering more(
        home_, R"({"workspaces":[{"name":"a","created_at":null,"moon":1}],"ring":2})", "99.1.0");
    said = cli({"workspace", "list"}, "", more.url());
    EXPECT_EQ(said.code, 0) << said.errors;
  }
}

/// Needed words of a usage, each as something that could stand there.
Words filled(const std::string& help) {
  Words words;
  std::istringstream usage(help.substr(0, help.find(" [OPTION]")));
  for (std::string word; usage >> word;) {
    if (word.starts_with("--")) words.push_back(word);
    if (word == "\u2026") words.emplace_back("1");
    const bool is_value = std::all_of(word.begin(), word.end(), [](unsigned char c) {
      return std::isupper(c) != 0 || c == '-' || c >= 0x80;
    });
    if (is_value && word != "\u2026") words.emplace_back(word.ends_with("\u2026") ? "a=1" : "1");
  }
  return words;
}

/// What each command asks for, and of nothing in it what it has: the lists of today with entries of
/// another release.
constexpr const char* kEmptyEntries =
    R"({"ok":false,"truncated":false,"status":"well","cursor":"1","has_more":false,"since":"1",
"next":null,"state":"","streams":[{}],"connections":[{}],"connectors":[{}],"errors":[{}],
"reasons":[{}],"runs":[{}],"links":[{}],"rules":[{}],"keys":[{}],"changes":[{}],"counts":[{}],
"entities":[{}],"types":[{}],"attributes":[{}],"sql_users":[{}],"audit":[{}],"tokens":[{}],
"workspaces":[{}],"quarantine":[{}],"records":[{}],"views":[{}],"files":[{}],"notes":[{}],
"disks":[{}],"database":{},"machine":{},"entity":{},"understood":{},"lines":{},"account":{},
"work":[{}],"manifest":{}})";

/// Of what is missing in an answer nothing breaks: it is said that the two are of different
/// releases.
TEST_F(Tool, a_host_of_another_release_is_told_whatever_was_asked) {
  const auto run = [](Words words) { return cli(std::move(words)); };
  std::vector<Words> commands;
  find_commands({}, commands, run);
  const std::string file = home_ / "some.csv";
  std::ofstream(file) << "email\na@example.org\n";
  const Answering other(home_, R"({"fleet":[],"moons":{"of":"jupiter"}})", "99.1.0");
  const Answering hollow(home_, kEmptyEntries, "99.1.0");
  const std::set<std::string> at_no_host = {"help", "completion", "context", "login", "psql"};
  std::set<std::string> told;
  for (const Words& command : commands) {
    if (at_no_host.contains(command.front())) continue;
    if (joined(command) == "connection delete") continue;  // waits until it is gone
    if (joined(command) == "entity drop-type") continue;   // the same
    Words words = command;
    words.insert(words.begin(), "help");
    const std::string help = run(words).output;
    if (!commands_in(help).empty()) continue;
    words = command;
    for (const std::string& word : filled(help)) words.push_back(word);
    if (command.back() == "import") words.back() = file;
    if (command.back() == "set-secret") words.push_back("--secret=a=@HOME");
    if (command.front() == "quarantine" && command.size() > 1 && command.back() != "list" &&
        command.back() != "show")
      words.emplace_back("1");
    if (joined(command) == "sql-user delete") words.emplace_back("--yes");
    for (const Answering* newer : {&other, &hollow}) {
      const Said said = cli(words, "", newer->url());
      const bool is_told = said.errors.find("cli.other_version") != std::string::npos;
      const bool shows_trouble = said.code == 75 && joined(command) == "view refresh";
      EXPECT_TRUE(said.code == 0 || shows_trouble || (said.code == 65 && is_told))
          << joined(words) << " ends with " << said.code << "\n"
          << said.errors << said.output;
      if (is_told) told.insert(joined(command));
    }
  }
  for (const char* command : {"status",
                              "errors",
                              "runs",
                              "run show",
                              "changes",
                              "link why",
                              "link list",
                              "link rules",
                              "entity list",
                              "entity types",
                              "entity type",
                              "entity import",
                              "entity export",
                              "host",
                              "sql-user create",
                              "sql-user list",
                              "connection list",
                              "connection check",
                              "audit",
                              "sync"})
    EXPECT_TRUE(told.contains(command)) << command;
  EXPECT_GE(told.size(), 30U);
}

mode_t mode_of(const fs::path& file) {
  struct stat facts {};
  return ::stat(file.c_str(), &facts) == 0 ? facts.st_mode & 07777 : 0;
}

TEST_F(Tool, login_keeps_a_host_and_a_token_and_the_workspace_that_the_token_knows) {
  const std::string url = stage_->host().url();
  Said said = alone("echo $TOKEN | $sluice login " + url, {{"TOKEN", stage_->admin}});
  EXPECT_EQ(said.code, 0) << said.errors;
  EXPECT_NE(said.output.find("as admin 'test', workspace acme"), std::string::npos) << said.output;
  EXPECT_EQ(said.output.find("slc_"), std::string::npos);
  EXPECT_EQ(mode_of(config_file()), 0600u);
  said = alone("$sluice connection list");
  EXPECT_EQ(said.code, 0) << said.errors;
  EXPECT_NE(said.output.find("billing"), std::string::npos) << said.output;
  said = alone("$sluice whoami");
  EXPECT_NE(said.output.find("admin 'test'"), std::string::npos) << said.output << said.errors;
  EXPECT_NE(said.output.find("workspaces: acme\n"), std::string::npos) << said.output;

  // Another one beside it, whose token stays in its file.
  std::ofstream(home_ / "other.token") << stage_->other_admin << "\n";
  said = alone("$sluice login " + url + " --context second --token-file other.token",
               {{"PWD", home_.string()}});
  EXPECT_NE(said.code, 0) << "the file is looked for where the command runs";
  said = alone("cd $HOME; $sluice login " + url + " --context second --token-file other.token");
  EXPECT_EQ(said.code, 0) << said.errors;
  EXPECT_EQ(read_file(config_file()).find(stage_->other_admin), std::string::npos);
  said = alone("$sluice context list");
  EXPECT_NE(said.output.find("second"), std::string::npos) << said.output;
  EXPECT_EQ(said.output.find("slc_"), std::string::npos) << said.output;
  EXPECT_NE(alone("$sluice whoami").output.find("workspaces: other\n"), std::string::npos);
  // An option before the environment, and that before what is kept.
  const std::string first = url.substr(7);
  EXPECT_NE(alone("$sluice --context " + first + " whoami").output.find("workspaces: acme\n"),
            std::string::npos);
  EXPECT_NE(alone("$sluice whoami", {{"SLUICE_CONTEXT", first}}).output.find("workspaces: acme\n"),
            std::string::npos);
  EXPECT_NE(
      alone("$sluice whoami", {{"SLUICE_TOKEN", stage_->reader}}).output.find("reader 'test'"),
      std::string::npos);
  EXPECT_NE(alone("$sluice -w other connection list").output.find("(none)"), std::string::npos);
  EXPECT_EQ(alone("$sluice context use " + first).code, 0);
  EXPECT_NE(alone("$sluice context show").output.find("acme"), std::string::npos);
  said = alone("$sluice context use secnod");
  EXPECT_EQ(said.code, 65);
  EXPECT_NE(said.errors.find("Did you mean 'second'?"), std::string::npos) << said.errors;
  EXPECT_EQ(alone("$sluice context rm second").code, 0);
  EXPECT_EQ(alone("$sluice context list").output.find("second"), std::string::npos);
}

TEST_F(Tool, logins_at_one_time_are_all_kept) {
  const Said said =
      alone("for n in 1 2 3 4 5 6; do echo $TOKEN | $sluice login " + stage_->host().url() +
                " --context c$n & done; wait; $sluice context list",
            {{"TOKEN", stage_->admin}});
  EXPECT_EQ(said.errors, "");
  for (int n = 1; n <= 6; ++n)
    EXPECT_NE(said.output.find(fmt::format("c{} ", n)), std::string::npos) << said.output;
  // A file that somebody else keeps for us, behind a link, stays where it is.
  const fs::path kept = home_ / "dotfiles.json";
  fs::rename(config_file(), kept);
  fs::create_symlink(kept, config_file());
  EXPECT_EQ(alone("$sluice context use c3").code, 0);
  EXPECT_TRUE(fs::is_symlink(config_file()));
  EXPECT_NE(read_file(kept).find("\"current\": \"c3\""), std::string::npos) << read_file(kept);
  std::ofstream(kept) << R"({"contexts":5})";
  EXPECT_NE(alone("$sluice status").errors.find("cli.config_not_json"), std::string::npos);
}

TEST_F(Tool, login_keeps_nothing_that_does_not_work_and_no_token_goes_elsewhere) {
  const std::string url = stage_->host().url();
  Said said = alone("echo slc_1_1_wrong | $sluice login " + url);
  EXPECT_EQ(said.code, 77) << said.output;
  EXPECT_FALSE(fs::exists(config_file()));
  said = alone("echo $TOKEN | $sluice login http://192.0.2.1:8420", {{"TOKEN", stage_->admin}});
  EXPECT_EQ(said.code, 77) << said.output;
  EXPECT_NE(said.errors.find("cli.token_in_clear"), std::string::npos) << said.errors;
  said = alone("echo $TOKEN | $sluice login " + url + " -w other", {{"TOKEN", stage_->admin}});
  EXPECT_EQ(said.code, 65);
  EXPECT_NE(said.errors.find("It knows: acme"), std::string::npos) << said.errors;
  EXPECT_FALSE(fs::exists(config_file()));

  EXPECT_EQ(alone("echo $TOKEN | $sluice login " + url, {{"TOKEN", stage_->admin}}).code, 0);
  said = alone("$sluice --url http://127.0.0.1:1 status");
  EXPECT_EQ(said.code, 77) << said.errors;
  EXPECT_NE(said.errors.find("is not sent to http://127.0.0.1:1"), std::string::npos)
      << said.errors;
  EXPECT_EQ(alone("$sluice --url http://127.0.0.1:1 status", {{"SLUICE_TOKEN", "slc_1_1_x"}}).code,
            69);
  // A file that others may read has no secrets any more.
  fs::permissions(config_file(), static_cast<fs::perms>(0644));
  said = alone("$sluice status");
  EXPECT_EQ(said.code, 77);
  EXPECT_NE(said.errors.find("chmod 600"), std::string::npos) << said.errors;
  fs::permissions(config_file(), static_cast<fs::perms>(0600));
  std::ofstream(config_file()) << "{";
  said = alone("$sluice status");
  EXPECT_EQ(said.code, 65);
  EXPECT_NE(said.errors.find("config.json"), std::string::npos) << said.errors;
}

TEST_F(Tool, of_several_workspaces_without_a_main_one_has_to_be_named) {
  const std::string url = stage_->host().url();
  Said said = alone("$sluice connection list",
                    {{"SLUICE_URL", url}, {"SLUICE_TOKEN", stage_->host().token()}});
  EXPECT_EQ(said.code, 65) << said.output;
  EXPECT_NE(said.errors.find("several: acme, other"), std::string::npos) << said.errors;
  EXPECT_NE(said.errors.find("-w acme"), std::string::npos) << said.errors;
  said = alone("$sluice connection list", {{"SLUICE_URL", url}, {"SLUICE_TOKEN", stage_->reader}});
  EXPECT_EQ(said.code, 0) << said.errors;
  EXPECT_NE(said.output.find("billing"), std::string::npos) << said.output;
}

TEST_F(Tool, what_is_secret_is_asked_for_on_a_terminal_and_not_shown) {
  auto environment = bare();
  const std::string url = stage_->host().url();
  OnTerminal seen = run_on_terminal({kProgram, "login", url}, environment,
                                    {{"token for " + url + ": ", stage_->admin}});
  EXPECT_EQ(seen.code, 0) << seen.screen;
  EXPECT_EQ(seen.screen.find(stage_->admin), std::string::npos) << seen.screen;
  seen = run_on_terminal({kProgram, "connection", "set-secret", "billing", "api_key"}, environment,
                         {{"api_key: ", kKey}});
  EXPECT_EQ(seen.code, 0) << seen.screen;
  EXPECT_EQ(seen.screen.find(kKey), std::string::npos) << seen.screen;
  EXPECT_NE(seen.screen.find("stored and checked"), std::string::npos) << seen.screen;
  // The key is one of an account that is connected already: asked for, sent, and refused.
  seen = run_on_terminal({kProgram, "connection", "create", "again", "--connector", "stripe"},
                         environment, {{"api_key (Secret or restricted key): ", "sk_live_no"}});
  EXPECT_NE(seen.code, 0) << seen.screen;
  EXPECT_EQ(seen.screen.find("sk_live_no"), std::string::npos) << seen.screen;
  seen = run_on_terminal({kProgram, "connection", "set-secret", "billing", "api_key"}, environment,
                         {{"api_key: ", ""}});
  EXPECT_EQ(seen.code, 65) << seen.screen;
  // On a command line others see it.
  const Said said =
      cli({"connection", "set-secret", "billing", "--secret", std::string("api_key=") + kKey});
  EXPECT_EQ(said.code, 0) << said.errors;
  EXPECT_NE(said.errors.find("warning: "), std::string::npos) << said.errors;
  EXPECT_EQ(said.errors.find(kKey), std::string::npos) << said.errors;
  seen = run_on_terminal({kProgram, "whoami", "--token", stage_->reader}, environment, {});
  EXPECT_NE(seen.screen.find("sluice: warning: --token is seen"), std::string::npos) << seen.screen;
}

TEST_F(Tool, completion_knows_the_commands_and_what_is_at_the_host) {
  struct Case {
    Words words;
    std::string has, has_not;
  };
  const std::vector<Case> cases = {
      {{"sta"}, "status\n", "errors"},
      {{"connection", ""}, "set-secret\n", "status"},
      {{"connection", "create", "x", "--con"}, "--connector\n", "--json"},
      {{"connection", "create", "x", "--connector", ""}, "stripe\n", "billing"},
      {{"status", ""}, "billing\n", "stripe"},
      {{"status", "bil"}, "billing\n", "errors"},
      {{"sync", "billing", "--stream", "inv"}, "invoices\n", "customers"},
      {{"connection", "pause", "billing", "cust"}, "customers\n", "invoices"},
      {{"entity", "list", "stripe.inv"}, "stripe.invoice_line\n", "customer\n"},
      {{"connector", "disable", ""}, "stripe\n", "list"},
      {{"link", "list", "--rule", ""}, "stripe.customer.email\n", "billing"},
      {{"token", "create", "x", "--role", "r"}, "reader\n", "admin"},
      {{"-w", ""}, "other\n", "status"},
      {{"help", "conn"}, "connector\n", "status"},
      {{"help", "connection", "cr"}, "create\n", "status"},
      {{"entity", "import", "customer", ""}, ":files\n", "customer"},
      {{"completion", ""}, "zsh\n", "fish"},
  };
  for (const Case& one : cases) {
    Words words = one.words;
    words.insert(words.begin(), "__complete");
    const Said said = cli(words);
    EXPECT_EQ(said.code, 0) << joined(words);
    EXPECT_EQ(said.errors, "") << joined(words);
    EXPECT_NE(said.output.find(one.has), std::string::npos) << joined(words) << "\n" << said.output;
    EXPECT_EQ(said.output.find(one.has_not), std::string::npos) << joined(words) << "\n"
                                                                << said.output;
  }
  // Nobody asked a question: a host that is away is passed over, and nothing is waited for.
  const auto began = std::chrono::steady_clock::now();
  for (const char* url : {"http://127.0.0.1:1", "nonsense://"}) {
    const Said away = cli({"__complete", "status", ""}, "", url);
    EXPECT_EQ(away.code, 0);
    EXPECT_EQ(away.output + away.errors, "");
  }
  EXPECT_LT(std::chrono::steady_clock::now() - began, std::chrono::seconds(5));
  // As bash asks.
  Launch launch;
  launch.program = "/bin/bash";
  launch.arguments = {
      "-c", "PATH=" + std::string(SLUICE_BINARY_DIR) +
                "/bin:$PATH; source <(sluice completion bash); COMP_WORDS=(sluice status "
                "bil); COMP_CWORD=2; _sluice; echo \"${COMPREPLY[@]}\"; "
                "COMP_WORDS=(sluice co); COMP_CWORD=1; _sluice; echo \"${COMPREPLY[@]}\""};
  launch.environment = {{"SLUICE_URL", stage_->host().url()},
                        {"SLUICE_TOKEN", stage_->reader},
                        {"SLUICE_WORKSPACE", "acme"}};
  launch.output = home_ / "bash.out";
  launch.errors = home_ / "bash.err";
  Process process(launch);
  EXPECT_EQ(process.wait(), 0) << read_file(launch.errors);
  EXPECT_EQ(read_file(launch.output), "billing\ncontext connector connection completion\n")
      << read_file(launch.errors);
}

TEST_F(Tool, the_audit_says_who_did_what_from_where_and_what_came_of_it) {
  Said said =
      cli({"entity", "create", "customer", "email=audit@example.org", "plan=pro"}, stage_->admin);
  ASSERT_EQ(said.code, 0) << said.errors;
  EXPECT_EQ(cli({"workspace", "list"}, stage_->admin).code, 77);
  EXPECT_EQ(cli({"audit"}, stage_->reader).code, 77) << "it is for admins";
  const auto ask = [](const std::string& query) {
    Ask question;
    question.path = "/v1/workspaces/acme/audit" + query;
    question.token = stage_->admin;
    return perform(stage_->host().url(), question);
  };
  // What was refused is written within a second.
  json refused;
  EXPECT_TRUE(eventually(std::chrono::seconds(20), [&] {
    const json page = ask("?action=request.refused&limit=1").document();
    if (page["audit"].empty()) return false;
    refused = page["audit"][0];
    return true;
  }));
  EXPECT_EQ(refused["outcome"], "refused");
  EXPECT_EQ(refused["from"], "127.0.0.1");
  EXPECT_EQ(refused["who"].get<std::string>().find("token "), 0U) << refused;

  const json made = ask("?action=entity&limit=1").document();
  ASSERT_EQ(made["audit"].size(), 1U) << made;
  const json& line = made["audit"][0];
  EXPECT_EQ(line["action"], "entity.create");
  EXPECT_EQ(line["outcome"], "done");
  EXPECT_EQ(line["detail"]["attributes"], json::parse(R"(["email","plan"])"));
  EXPECT_TRUE(line["id"].is_string());
  EXPECT_TRUE(line["token"].is_string());
  EXPECT_EQ(line["who"].get<std::string>(),
            "token " + line["token"].get<std::string>() + " 'test'");
  // Page by page it is all of it that was there, newest first, and none twice.
  std::vector<std::string> ids;
  std::string cursor, last, newest;
  for (int pages = 0; pages < 200; ++pages) {
    const json page = ask("?limit=3" + cursor).document();
    for (const json& one : page["audit"]) {
      const std::string at = one["at"];
      EXPECT_TRUE(last.empty() || at <= last) << at << " after " << last;
      last = at;
      if (newest.empty()) newest = at;
      ids.push_back(one["id"]);
    }
    if (page["next"].is_null()) break;
    cursor = "&cursor=" + page["next"].get<std::string>();
  }
  EXPECT_EQ(std::set<std::string>(ids.begin(), ids.end()).size(), ids.size());
  EXPECT_EQ(
      static_cast<std::int64_t>(ids.size()),
      stage_->host().count("select count(*) from sluice.audit a join sluice.workspace w using "
                           "(workspace_id) where w.name = 'acme' and a.at <= '" +
                           newest + "'"));
  EXPECT_EQ(ask("?since=2100-01-01T00:00:00Z").document()["audit"].size(), 0U);
  EXPECT_GT(ask("?since=1h").document()["audit"].size(), 0U);
  EXPECT_EQ(ask("?who=nobody%20of%20that%20name").document()["audit"].size(), 0U);
  EXPECT_EQ(ask("?since=tomorrow").status, 400);
  EXPECT_EQ(ask("?cursor=17").status, 400);
  said = cli({"audit", "--action", "token.create", "--limit", "1"}, stage_->admin);
  EXPECT_NE(said.output.find("token.create test"), std::string::npos) << said.output;
  said = cli({"audit", "--action", "entity", "--limit", "1"}, stage_->admin);
  EXPECT_NE(said.output.find("entity.create customer/"), std::string::npos) << said.output;
  EXPECT_NE(said.output.find("by token "), std::string::npos) << said.output;
  EXPECT_NE(said.output.find(" from 127.0.0.1"), std::string::npos) << said.output;
  EXPECT_NE(said.output.find("more: --cursor "), std::string::npos) << said.output;
}

TEST_F(Tool, own_entities_are_written_changed_and_deleted_and_values_are_as_the_type_has_them) {
  ASSERT_EQ(cli({"entity", "create-type", "seat", "code:text:unique", "floor:integer"}).code, 0);
  Said said = cli({"entity", "add-attribute", "seat", "mail:text:format=email,unique"});
  EXPECT_EQ(said.code, 64);
  EXPECT_NE(said.errors.find("has a comma where a colon separates"), std::string::npos)
      << said.errors;
  said = cli({"entity", "add-attribute", "seat", "window:boolean"});
  EXPECT_EQ(said.code, 0) << said.errors;
  said = cli({"entity", "create", "seat", "code=007", "floor=2", "window=true"});
  ASSERT_EQ(said.code, 0) << said.errors;
  EXPECT_EQ(said.output.find("inserted seat "), 0U) << said.output;
  const std::string id = said.output.substr(14, said.output.find('\n') - 14);
  Host& host = stage_->host();
  EXPECT_EQ(host.sql("select code || '/' || floor || '/' || \"window\" from acme.seat"),
            "007/2/true");
  said = cli({"entity", "update", "seat", id, "code=008", "floor="});
  EXPECT_EQ(said.code, 0) << said.errors;
  EXPECT_EQ(host.sql("select code || '/' || coalesce(floor::text, '-') from acme.seat"), "008/-");
  EXPECT_EQ(cli({"entity", "update", "seat", id, "code=\"null\""}).code, 0);
  EXPECT_EQ(host.sql("select code from acme.seat"), "\"null\"") << "text is as it was typed";
  said = cli({"entity", "update", "seat", id, "floor=upper"});
  EXPECT_EQ(said.code, 64) << said.errors;
  EXPECT_NE(said.errors.find("floor must be a whole number"), std::string::npos) << said.errors;
  EXPECT_EQ(cli({"entity", "update", "seat", id, "flor=1"}).code, 65);
  said = cli({"entity", "delete", "seat", id, "--dry-run"});
  EXPECT_EQ(said.code, 0);
  EXPECT_EQ(host.count("select count(*) from acme.seat"), 1);
  EXPECT_EQ(cli({"entity", "rm", "seat", id}).code, 0);
  EXPECT_EQ(host.count("select count(*) from acme.seat"), 0);
}

TEST_F(Tool, settings_are_what_the_connectors_schema_says) {
  Said said = cli({"connection", "config", "billing", "event_lag_seconds=30"});
  EXPECT_EQ(said.code, 0) << said.errors;
  Host& host = stage_->host();
  const std::string lag =
      "select config->>'event_lag_seconds' || ' ' || "
      "jsonb_typeof(config->'event_lag_seconds') from sluice.connection where name = 'billing'";
  EXPECT_EQ(host.sql(lag), "30 number");
  said = cli({"connection", "config", "billing", "event_lag_seconds=soon"});
  EXPECT_EQ(said.code, 64) << said.output;
  EXPECT_NE(said.errors.find("event_lag_seconds must be a whole number, and 'soon' is not"),
            std::string::npos)
      << said.errors;
  // Text stays text, whatever it looks like: the pattern refuses it, not its type.
  said = cli({"connection", "config", "billing", "account=123"});
  EXPECT_EQ(said.code, 65) << said.output;
  EXPECT_EQ(said.errors.find("must be a string"), std::string::npos) << said.errors;
  EXPECT_EQ(said.errors.find("type"), std::string::npos) << said.errors;
  EXPECT_EQ(cli({"connection", "config", "billing", "event_lag_seconds=0"}).code, 0);
}

TEST_F(Tool, a_list_has_the_fields_that_were_chosen_in_their_order_and_room_for_them) {
  std::map<std::string, std::string> environment = bare();
  environment["SLUICE_URL"] = stage_->host().url();
  environment["SLUICE_TOKEN"] = stage_->admin;
  environment["SLUICE_WORKSPACE"] = "acme";
  const std::string fields = "amount_remaining,amount_remaining_major,currency,number";
  const OnTerminal seen = run_on_terminal(
      {kProgram, "entity", "list", "stripe.invoice", "--limit", "2", "--fields", fields},
      environment, {});
  std::istringstream words(seen.screen);
  for (const char* title :
       {"ID", "amount_remaining", "amount_remaining_major", "currency", "number"}) {
    std::string word;
    words >> word;
    EXPECT_EQ(word, title) << seen.screen;
  }
}

TEST_F(Tool, what_a_table_leaves_out_is_said_with_what_shows_it) {
  const auto lines_of = [](Words words) { return cli(std::move(words)).output; };
  const std::string few = lines_of({"entity", "list", "stripe.customer", "--limit", "1"});
  EXPECT_NE(few.find(" more columns: -o wide, or --fields "), std::string::npos) << few;
  const std::string wide = lines_of({"entity", "list", "stripe.customer", "-o", "wide"});
  EXPECT_EQ(wide.find("more column"), std::string::npos);
  EXPECT_EQ(lines_of({"entity", "list", "customer"}).find("more column"), std::string::npos);
  std::map<std::string, std::string> environment = bare();
  environment["SLUICE_URL"] = stage_->host().url();
  environment["SLUICE_TOKEN"] = stage_->admin;
  environment["SLUICE_WORKSPACE"] = "acme";
  const OnTerminal seen = run_on_terminal(
      {kProgram, "entity", "list", "stripe.invoice", "--limit", "1"}, environment, {});
  EXPECT_NE(seen.screen.find("no room for: "), std::string::npos) << seen.screen;
  EXPECT_NE(seen.screen.find("--fields NAME"), std::string::npos) << seen.screen;
}

TEST_F(Tool, a_table_of_80_columns_has_what_one_acts_by) {
  std::map<std::string, std::string> environment = bare();
  environment["SLUICE_URL"] = stage_->host().url();
  environment["SLUICE_TOKEN"] = stage_->host().token();
  environment["SLUICE_WORKSPACE"] = "acme";
  const auto titles = [&](Words words) {
    words.insert(words.begin(), kProgram);
    const std::string screen = run_on_terminal(std::move(words), environment, {}).screen;
    return screen.substr(0, screen.find('\n'));
  };
  EXPECT_NE(titles({"token", "list"}).find("THIS ONE"), std::string::npos);
  ASSERT_EQ(cli({"entity", "add-attribute", "stripe.customer", "order_ref:text", "--path",
                 "metadata.order"})
                .code,
            0);
  EXPECT_NE(titles({"entity", "type", "stripe.customer"}).find("PATH"), std::string::npos);
  EXPECT_EQ(cli({"entity", "drop-attribute", "stripe.customer", "order_ref", "--yes"}).code, 0);
}

TEST_F(Tool, every_table_comes_wide_and_as_csv_too) {
  std::map<std::string, std::string> environment = bare();
  environment["SLUICE_URL"] = stage_->host().url();
  environment["SLUICE_TOKEN"] = stage_->host().token();
  environment["SLUICE_WORKSPACE"] = "acme";
  const OnTerminal narrow = run_on_terminal({kProgram, "token", "list"}, environment, {});
  EXPECT_NE(narrow.screen.find("-o wide has them"), std::string::npos) << narrow.screen;
  const OnTerminal wide =
      run_on_terminal({kProgram, "token", "list", "-o", "wide"}, environment, {});
  EXPECT_EQ(wide.screen.find("no room for"), std::string::npos) << wide.screen;
  EXPECT_NE(wide.screen.find("CREATED"), std::string::npos) << wide.screen;
  const Said csv = cli({"-o", "csv", "token", "list"});
  EXPECT_TRUE(csv.output.starts_with("id,name,role,this_one,revoked,last_used,created\n"))
      << csv.output;
  EXPECT_NE(csv.output.find("\n1,"), std::string::npos) << csv.output;
  EXPECT_TRUE(cli({"runs", "-o", "csv"}).output.starts_with("run,started,"));
  EXPECT_TRUE(json::accept(cli({"token", "list", "-o", "json"}).output));
  const Said none = cli({"status", "-o", "csv"});
  EXPECT_EQ(none.output, "");
  EXPECT_EQ(none.code, 65);
  EXPECT_NE(none.errors.find("cli.no_table"), std::string::npos) << none.errors;
  EXPECT_EQ(cli({"token", "list", "-o", "cvs"}).code, 64);
}

TEST_F(Tool, an_empty_list_says_what_was_misspelt) {
  const Said said = cli({"entity", "list", "stripe.invoice", "--filter", "status=opne"});
  EXPECT_EQ(said.code, 0);
  EXPECT_NE(said.errors.find("Did you mean 'open'?"), std::string::npos) << said.errors;
  EXPECT_EQ(cli({"entity", "list", "stripe.invoice", "--filter", "status=open"}).errors, "");
}

TEST_F(Tool, a_sync_is_asked_for_in_words) {
  const Said said = cli({"sync", "billing", "--stream", "customers"});
  EXPECT_EQ(said.code, 0) << said.errors;
  EXPECT_EQ(
      said.output,
      "asked for 1 stream: customers\nsluice status billing shows them, --wait waits for them\n");
}

TEST_F(Tool, a_connector_is_shown_for_who_wants_to_connect_with_it) {
  const Said said = cli({"connector", "show", "stripe"});
  EXPECT_EQ(said.code, 0) << said.errors;
  for (const char* part : {"stripe ", "installed in this workspace", "api_key: ",
                           "event_lag_seconds (integer, 60 if not set)", "streams: ", "types: "})
    EXPECT_NE(said.output.find(part), std::string::npos) << part << "\n" << said.output;
  EXPECT_TRUE(json::accept(cli({"connector", "show", "stripe", "--json"}).output));
}

/// Last: it turns "billing" off.
TEST_F(Tool, zz_nothing_is_hidden_or_gone_before_it_was_said_how_much_it_is) {
  Host& host = stage_->host();
  const std::int64_t customers = host.count("select count(*) from acme.stripe_customer");
  const std::string counted = "stripe.customer";
  std::map<std::string, std::string> environment = bare();
  environment["SLUICE_URL"] = host.url();
  environment["SLUICE_TOKEN"] = stage_->admin;
  environment["SLUICE_WORKSPACE"] = "acme";
  const auto state = [&] {
    return host.sql("select state from sluice.connection where name = 'billing'");
  };
  const std::string before = state();
  Said said = cli({"connection", "disable", "billing", "--dry-run"});
  EXPECT_EQ(said.code, 0) << said.errors;
  EXPECT_NE(said.output.find(counted), std::string::npos) << said.output;
  EXPECT_NE(said.output.find(" " + std::to_string(customers) + "\n"), std::string::npos)
      << said.output;
  EXPECT_NE(said.output.find("Nothing was done"), std::string::npos) << said.output;
  said = cli({"connection", "disable", "billing", "--dry-run", "--json"});
  const json facts = json::parse(said.output, nullptr, false);
  EXPECT_EQ(facts["dry_run"], true) << said.output;
  std::int64_t rows = 0;
  for (const json& type : facts["types"]) {
    rows += type["rows"].get<std::int64_t>();
    if (type["type"] == "stripe.customer") {
      EXPECT_EQ(type["rows"], customers);
    }
  }
  EXPECT_EQ(facts["rows"], rows);
  said = cli({"connector", "disable", "stripe", "--dry-run"});
  EXPECT_NE(said.output.find("billing: " + std::to_string(rows) + " rows"), std::string::npos)
      << said.output << said.errors;
  said = cli({"connector", "revoke", "stripe", "--dry-run"});
  EXPECT_EQ(said.code, 0) << said.errors;
  said = cli({"token", "revoke", "1", "--dry-run"});
  EXPECT_NE(said.output.find("Token 1 'first start', an operator's"), std::string::npos)
      << said.output;
  EXPECT_EQ(cli({"connection", "disable", "biling", "--dry-run"}).code, 65);

  // Somebody at a terminal is asked, and may say no.
  OnTerminal seen = run_on_terminal({kProgram, "connection", "disable", "billing"}, environment,
                                    {{"Go on? [y/N]", "n"}});
  EXPECT_EQ(seen.code, 65) << seen.screen;
  EXPECT_NE(seen.screen.find("nothing was done"), std::string::npos) << seen.screen;
  EXPECT_NE(seen.screen.find(counted), std::string::npos) << seen.screen;
  EXPECT_NE(seen.screen.find(" types more "), std::string::npos) << seen.screen;
  EXPECT_LT(std::count(seen.screen.begin(), seen.screen.end(), '\n'), 24) << seen.screen;
  EXPECT_EQ(state(), before);
  seen = run_on_terminal({kProgram, "connection", "disable", "billing"}, environment,
                         {{"Go on? [y/N]", "yes"}});
  EXPECT_EQ(seen.code, 0) << seen.screen;
  EXPECT_TRUE(eventually(std::chrono::seconds(60), [&] { return state() == "DISCONNECTED"; }));

  // What nothing brings back has to be meant: by its name, or --yes where nobody can be asked.
  said = cli({"connection", "delete", "billing"});
  EXPECT_EQ(said.code, 65) << said.output;
  expect_one_message(said, "delete");
  EXPECT_NE(said.errors.find("--yes"), std::string::npos) << said.errors;
  seen = run_on_terminal({kProgram, "connection", "delete", "billing"}, environment,
                         {{"Type billing to go on:", "y"}});
  EXPECT_EQ(seen.code, 65) << seen.screen;
  EXPECT_EQ(state(), "DISCONNECTED");
  said = cli({"connection", "delete", "billing", "--dry-run"});
  EXPECT_EQ(said.code, 0) << said.errors;
  EXPECT_EQ(state(), "DISCONNECTED");
  said = cli({"connection", "delete", "billing", "--yes"});
  EXPECT_EQ(said.code, 0) << said.errors;
  EXPECT_EQ(state(), "");
}

}  // namespace
}  // namespace sluice::e2e
