// Imports as a person and a program see them: a look before, a type from a file, columns by other
// names, what is told while it runs and when it is cut.
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <csignal>
#include <fstream>
#include <optional>
#include <sstream>
#include <utility>

#include "e2e/raw_client.hpp"
#include "e2e/rest.hpp"
#include "e2e/terminal.hpp"
#include "e2e/world.hpp"

namespace sluice::e2e {
namespace {

using nlohmann::json;

constexpr const char* kProgram = SLUICE_BINARY_DIR "/bin/sluice";

class ImportE2e : public World {
 protected:
  void SetUp() override { host_->start(); }

  Reply send(const std::string& query, const std::string& body,
             const std::string& content_type = "text/csv") {
    Ask what;
    what.method = "POST";
    what.path = "/v1/workspaces/acme/types/" + query;
    what.token = host_->token();
    what.body = body;
    what.content_type = content_type;
    return perform(host_->url(), what);
  }
  /// All but the last 100 bytes of a file that is announced whole; the answer as it comes.
  std::string send_cut(const std::string& type, std::string_view file) {
    RawClient raw(host_->url());
    raw.send(
        fmt::format("POST /v1/workspaces/acme/types/{}/import?file=cut.csv HTTP/1.1\r\n"
                    "Host: x\r\nAuthorization: Bearer {}\r\nContent-Type: text/csv\r\n"
                    "Content-Length: {}\r\n\r\n",
                    type, host_->token(), file.size()));
    raw.send(file.substr(0, file.size() - 100));
    raw.end_sending();
    return raw.next_answer();
  }
  Reply get(const std::string& path) {
    Ask what;
    what.path = "/v1/workspaces/acme" + path;
    what.token = host_->token();
    return perform(host_->url(), what);
  }
  Said cli(std::vector<std::string> arguments) {
    return run_sluice(directory_, host_->url(), host_->token(), std::move(arguments));
  }
  std::string write_file(const std::string& name, const std::string& text) {
    const std::string path = directory_ / name;
    std::ofstream(path, std::ios::binary) << text;
    return path;
  }
  void make_customer() {
    ASSERT_EQ(cli({"entity", "create-type", "customer", "email:text:unique:format=email", "name",
                   "joined:date"})
                  .code,
              0);
  }
  std::string stored() {
    return host_->sql("select coalesce(jsonb_agg(data order by id), '[]') from sluice.own_entity");
  }
  static std::string rows(int count) {
    std::string text = "email,name\n";
    for (int n = 0; n < count; ++n) text += fmt::format("u{}@example.org,\"Person {}\"\n", n, n);
    return text;
  }
};

TEST_F(ImportE2e, a_dry_run_tells_what_will_be_and_stores_nothing) {
  make_customer();
  const std::string csv = write_file("german.csv",
                                     "E-Mail;Name;joined;Telefon\r\n"
                                     "ann@example.org;\"M\xfcller; Ann\";31.12.2024;1\r\n"
                                     ";;;\r\n"
                                     "bob@example.org;Bob;1.1.24;2\r\n");
  const std::int64_t runs = host_->count("select count(*) from sluice.sync_run");
  const Said dry = cli({"entity", "import", "customer", csv, "--dry-run"});
  EXPECT_EQ(dry.code, 65) << dry.errors;
  EXPECT_EQ(stored(), "[]");
  EXPECT_EQ(host_->count("select count(*) from sluice.sync_run"), runs);
  const Said real = cli({"entity", "import", "customer", csv});
  EXPECT_EQ(real.code, 65);
  EXPECT_EQ(dry.output, "Nothing is stored: a dry run. It would be:\n" + real.output);
  for (const char* text :
       {"2 rows: 1 new, 0 changed, 0 unchanged, 1 rejected", "Read as windows-1252 CSV",
        "separated by ';'", "Not stored, since no attribute is called so: Telefon",
        "a year of two digits"}) {
    EXPECT_NE(real.output.find(text), std::string::npos) << text << "\n" << real.output;
  }
  EXPECT_EQ(stored(),
            R"([{"name": "Müller; Ann", "email": "ann@example.org", "joined": "2024-12-31"}])");
}

TEST_F(ImportE2e, no_reason_is_cut_by_the_width_of_a_terminal) {
  make_customer();
  const std::string csv = write_file("orders.csv",
                                     "email,joined\n"
                                     "ann@example.org,25/06/2024\n"
                                     "bob@example.org,06/25/2024\n");
  const std::map<std::string, std::string> environment = {
      {"SLUICE_URL", host_->url()}, {"SLUICE_TOKEN", host_->token()}, {"SLUICE_WORKSPACE", "acme"}};
  const OnTerminal seen = run_on_terminal(
      {kProgram, "entity", "import", "customer", csv, "--dates", "dmy"}, environment, {});
  EXPECT_EQ(seen.code, 65);
  std::string screen = seen.screen;
  std::erase(screen, '\r');
  const char* const refused =
      "\nline 3, joined (import.bad_value): '06/25/2024' is no date with the day first,\n"
      "  as it was said\n";
  EXPECT_NE(screen.find(refused), std::string::npos) << screen;
  std::istringstream lines(screen);
  for (std::string line; std::getline(lines, line);) EXPECT_LE(line.size(), 80U) << line;
  EXPECT_NE(screen.find("1 row was rejected (1 line); all others are stored"), std::string::npos);
}

TEST_F(ImportE2e, a_file_makes_its_type_and_columns_go_where_they_are_sent) {
  make_customer();
  const std::string csv = write_file("leads.csv",
                                     "id,E-Mail,Since,Score,ZIP\n"
                                     "7,ann@example.org,2024-12-31,1.5,04109\n"
                                     "8,bob@example.org,2025-01-31,2,10115\n");
  const Said dry =
      cli({"entity", "import", "lead", csv, "--create-type", "--key", "E-Mail", "--dry-run"});
  EXPECT_EQ(dry.code, 0) << dry.errors;
  EXPECT_EQ(get("/types/lead").status, 404) << "a dry run makes no type";
  for (const char* name : {"aaa", "zzz"}) {
    const Said elsewhere = cli({"entity", "import", name, csv, "--create-type", "--dry-run"});
    EXPECT_EQ(elsewhere.code, 0) << name << ", before or behind other types: " << elsewhere.errors;
  }
  const Said made = cli({"entity", "import", "lead", csv, "--create-type", "--key", "E-Mail",
                         "--map", "E-Mail=email", "--map", "Score="});
  EXPECT_EQ(made.code, 0) << made.errors;
  for (const char* text :
       {"Type lead:", "  lead_id: integer", "  email: text, unique, format email", "  since: date",
        "  zip: text", "2 rows: 2 new"}) {
    EXPECT_NE(made.output.find(text), std::string::npos) << text << "\n" << made.output;
  }
  const Said taken = cli({"entity", "import", "lead", csv, "--create-type"});
  EXPECT_NE(taken.errors.find("type.name_taken"), std::string::npos) << taken.errors;
  const Said again = cli({"entity", "import", "lead", csv, "--map", "id=lead_id"});
  EXPECT_NE(again.output.find("2 rows: 0 new, 0 changed, 2 unchanged"), std::string::npos)
      << again.output << again.errors;
}

TEST_F(ImportE2e, what_the_request_says_of_its_body_is_heeded_or_refused) {
  make_customer();
  const std::string csv = "email,name\nann@example.org,M\xfcller\n";
  const Reply latin = send("customer/import", csv, "text/csv; charset=ISO-8859-1");
  EXPECT_EQ(latin.status, 200) << latin.text;
  EXPECT_EQ(latin.document()["understood"]["encoding"], "windows-1252");
  const Reply utf8 = send("customer/import", csv, "text/csv; charset=utf-8");
  EXPECT_EQ(utf8.document()["rejects"][0]["code"], "import.bad_utf8") << utf8.text;
  EXPECT_EQ(send("customer/import", csv, "text/csv; charset=koi8-r").code(),
            "request.unsupported_charset");
  for (const char* query : {"encoding=ebcdic", "decimal=dot", "dates=ymd", "zone=Berlin", "map=1",
                            "separator=ab", "dry_run=perhaps"})
    EXPECT_EQ(send(std::string("customer/import?") + query, csv).code(), "request.bad_parameter")
        << query;
  RawClient raw(host_->url());
  raw.send(
      fmt::format("POST /v1/workspaces/acme/types/customer/import HTTP/1.1\r\nHost: x\r\n"
                  "Authorization: Bearer {}\r\nContent-Type: text/csv\r\n"
                  "Content-Encoding: gzip\r\nContent-Length: 2\r\n\r\n\x1f\x8b",
                  host_->token()));
  const std::string answer = raw.next_answer();
  EXPECT_NE(answer.find(" 415 "), std::string::npos) << answer;
  EXPECT_NE(answer.find("request.unsupported_encoding"), std::string::npos) << answer;
}

/// `sluice entity import TYPE -` in the middle of its file, which this holds open.
class HalfSent {
 public:
  HalfSent(const std::filesystem::path& directory, const Host& host,
           const std::vector<std::string>& words, const std::string& text)
      : errors_(directory / "half.err") {
    const std::string pipe = directory / "half.pipe";
    ::unlink(pipe.c_str());
    EXPECT_EQ(::mkfifo(pipe.c_str(), 0600), 0);
    Launch launch;
    launch.program = "/bin/sh";
    launch.arguments = {"-c", "in=$1; shift; exec \"$@\" < \"$in\"", "sh", pipe, kProgram};
    launch.arguments.insert(launch.arguments.end(), words.begin(), words.end());
    launch.environment = {
        {"SLUICE_URL", host.url()}, {"SLUICE_TOKEN", host.token()}, {"SLUICE_WORKSPACE", "acme"}};
    launch.output = directory / "half.out";
    launch.errors = errors_;
    process_.emplace(launch);
    pipe_ = ::open(pipe.c_str(), O_WRONLY);
    for (std::size_t at = 0; at < text.size();) {
      const ssize_t sent = ::write(pipe_, text.data() + at, text.size() - at);
      if (sent <= 0) break;
      at += static_cast<std::size_t>(sent);
    }
  }
  ~HalfSent() {
    if (pipe_ >= 0) ::close(pipe_);
  }
  HalfSent(const HalfSent&) = delete;
  HalfSent& operator=(const HalfSent&) = delete;

  Process& process() { return *process_; }
  /// And the end of the file.
  void send_rest() {
    (void)!::write(pipe_, "u@x.example,U\n", 14);
    ::close(std::exchange(pipe_, -1));
  }
  std::string errors() const { return read_file(errors_); }

 private:
  std::string errors_;
  std::optional<Process> process_;
  int pipe_ = -1;
};

TEST_F(ImportE2e, what_is_cut_of_a_type_without_a_unique_attribute_goes_on_behind_what_is_stored) {
  ASSERT_EQ(cli({"entity", "create-type", "visit", "email", "name"}).code, 0);
  const std::string all = rows(40'000);
  const std::string path = write_file("visits.csv", all);
  const auto stored_rows = [this] {
    return host_->count("select count(*) from sluice.own_entity where deleted_at is null");
  };
  HalfSent half(directory_, *host_, {"entity", "import", "visit", "-"},
                all.substr(0, all.size() / 2));
  ASSERT_TRUE(eventually(std::chrono::seconds(60), [&] { return stored_rows() >= 10'000; }));
  half.process().signal(SIGINT);
  EXPECT_EQ(half.process().wait(), 128 + SIGINT) << half.errors();
  const std::int64_t first = stored_rows();
  EXPECT_LT(first, 40'000);
  const json run = get("/runs?stream=visit&limit=1").document()["runs"][0];
  EXPECT_EQ(run["file_line"], first + 1) << "and a header: " << run;
  const std::string from = std::to_string(first + 2);
  for (const std::string& part : {fmt::format("{} new and 0 changed rows are stored", first),
                                  "--from-line " + from, std::string("would be there twice")})
    EXPECT_NE(half.errors().find(part), std::string::npos) << part << "\n" << half.errors();
  const Said rest = cli({"entity", "import", "visit", path, "--from-line", from});
  EXPECT_EQ(rest.code, 0) << rest.errors;
  EXPECT_NE(rest.output.find(fmt::format("{} passed over", first)), std::string::npos)
      << rest.output;
  EXPECT_EQ(stored_rows(), 40'000) << "each row once";
  EXPECT_EQ(cli({"entity", "import", "visit", path, "--from-line", "0"}).code, 64);
  const Said beyond = cli({"entity", "import", "visit", path, "--from-line", "50000"});
  EXPECT_EQ(beyond.code, 65) << beyond.output;
  EXPECT_NE(beyond.errors.find("import.from_line_beyond_the_end"), std::string::npos);

  // The host says the same to who sends by REST.
  const std::string answer = send_cut("visit", all);
  const json cut = get("/runs?stream=visit&limit=1").document()["runs"][0];
  EXPECT_EQ(cut["file_line"], stored_rows() - 40'000 + 1) << cut;
  EXPECT_NE(answer.find(fmt::format("?from_line={}", stored_rows() - 40'000 + 2)),
            std::string::npos)
      << answer;
}

TEST_F(ImportE2e, a_host_that_goes_in_the_middle_of_an_import_is_told_as_that) {
  ASSERT_EQ(cli({"entity", "create-type", "visit", "email", "name"}).code, 0);
  const std::string all = rows(40'000);
  HalfSent half(directory_, *host_, {"entity", "import", "visit", "-"},
                all.substr(0, all.size() / 2));
  ASSERT_TRUE(eventually(std::chrono::seconds(60), [&] {
    return host_->count("select count(*) from sluice.own_entity") >= 10'000;
  }));
  host_->kill_hard();
  half.send_rest();
  EXPECT_EQ(half.process().wait(), 69) << half.errors();
  EXPECT_EQ(half.errors().find("TLS"), std::string::npos) << half.errors();
  for (const char* part : {"the host went away when ", "sluice runs --stream visit", "file_line",
                           "--from-line", "import.host_gone"})
    EXPECT_NE(half.errors().find(part), std::string::npos) << part << "\n" << half.errors();
  host_->start();
  const json run = get("/runs?stream=visit&limit=1").document()["runs"][0];
  EXPECT_EQ(run["file_line"], host_->count("select count(*) from sluice.own_entity") + 1) << run;
}

TEST_F(ImportE2e, a_type_is_made_only_of_a_file_with_a_row_that_can_be_stored) {
  struct Case {
    const char* name;
    std::string text;
    const char* says;
  };
  const std::vector<Case> cases = {
      {"packed.csv.gz", std::string("\x1f\x8b\x08\0\0\0\0\0", 8), "gzip -dc"},
      {"book.xlsx", std::string("PK\x03\x04\x14\0\x06\0[Content_Types].xml", 27), "soffice"},
      {"list.json", "[{\"email\": \"a@x.com\"}]\n", "jq -c"},
      {"lines.csv", "{\"email\": \"a@x.com\"}\n", "--format ndjson"},
      {"header.csv", "email,name\n", "no row below its header"},
      {"bad.csv", "email,name\na@x.com\nb@x.com\n", "none of the file's first 2 rows"},
      {"keyless.csv", "email,name\n,A\n", "not even the file's one row"}};
  for (const Case& one : cases) {
    const std::string path = write_file(one.name, one.text);
    for (const bool dry : {true, false}) {
      std::vector<std::string> words = {"entity",        "import", "lead", path,
                                        "--create-type", "--key",  "email"};
      if (dry) words.emplace_back("--dry-run");
      const Said said = cli(words);
      EXPECT_EQ(said.code, 65) << one.name << said.output << said.errors;
      EXPECT_NE(said.errors.find(one.says), std::string::npos) << one.name << said.errors;
      EXPECT_EQ(get("/types/lead").status, 404) << one.name;
    }
  }
  EXPECT_EQ(get("/runs?stream=lead").document()["runs"].size(), 0U);
  const std::string named = write_file("named.csv", "email,name\na@x.com,A\n");
  const Said meant = cli({"entity", "import", "lead", named, "--create-type", "--key", "emial"});
  EXPECT_NE(meant.errors.find("did you mean 'email'?"), std::string::npos) << meant.errors;
  const std::string good = write_file("good.csv", "email,name\nb@x.com\na@x.com,A\n");
  for (const char* name : {"Lead", "link", "stripe.lead", "9lives"}) {
    for (const bool dry : {true, false}) {
      std::vector<std::string> words = {"entity", "import", name, good, "--create-type"};
      if (dry) words.emplace_back("--dry-run");
      const Said said = cli(words);
      EXPECT_EQ(said.code, 65) << name << said.output;
      EXPECT_NE(said.errors.find("(type."), std::string::npos) << name << said.errors;
    }
  }
  EXPECT_EQ(cli({"entity", "import", "lead", good, "--create-type", "--dry-run"}).code, 65)
      << "one row is refused";
  EXPECT_EQ(get("/types/lead").status, 404);
  EXPECT_EQ(cli({"entity", "import", "lead", good, "--create-type"}).code, 65);
  EXPECT_EQ(get("/types/lead").status, 200);
}

/// What is made of a file is judged by its first rows, as far as they are seen whole.
TEST_F(ImportE2e, a_type_is_made_of_a_file_whose_first_row_is_larger_than_what_is_looked_at) {
  const std::string big(200'000, 'x');  // a text may be no larger than the look
  const std::string path = write_file(
      "big.csv", "email,note,more\na@x.com," + big + "," + big + "\nb@x.com,short,too\n");
  const Said said = cli({"entity", "import", "lead", path, "--create-type", "--key", "email"});
  EXPECT_EQ(said.code, 0) << said.errors;
  EXPECT_EQ(
      host_->sql("select string_agg(email || ' ' || length(note || more), ', ' order by email)"
                 " from acme.lead"),
      "a@x.com 400000, b@x.com 8");
}

TEST_F(ImportE2e, a_key_twice_in_a_file_is_told_and_changes_nothing_when_it_comes_again) {
  make_customer();
  const std::string csv = write_file("twice.csv",
                                     "email,name\nann@x.com,Ann\nbob@x.com,Bob\n"
                                     "Ann@x.com,Ann B\nbob@x.com,Bob\n");
  const Said first = cli({"entity", "import", "customer", csv});
  EXPECT_EQ(first.code, 65);
  for (const char* part :
       {"4 rows: 2 new, 0 changed, 1 unchanged, 1 rejected",
        "line 2 has the same email, and another name", "1 row has the key of an earlier row, and"})
    EXPECT_NE(first.output.find(part), std::string::npos) << part << "\n" << first.output;
  const Said again = cli({"entity", "import", "customer", csv});
  EXPECT_NE(again.output.find("4 rows: 0 new, 0 changed, 3 unchanged, 1 rejected"),
            std::string::npos)
      << again.output;
}

TEST_F(ImportE2e, an_import_is_a_run_and_a_cut_one_says_how_much_is_stored) {
  make_customer();
  const std::string all = rows(40'000);
  const Reply done = send("customer/import?file=all.csv", rows(10));
  ASSERT_EQ(done.status, 200) << done.text;
  const json run = get("/runs/" + done.document()["run"].get<std::string>()).document();
  EXPECT_EQ(run["kind"], "import") << run;
  EXPECT_EQ(run["outcome"], "done");
  EXPECT_EQ(run["file"], "all.csv");
  EXPECT_EQ(run["file_bytes"], rows(10).size());
  EXPECT_EQ(run["bytes"], rows(10).size());
  EXPECT_EQ(run["inserted"], 10);
  EXPECT_EQ(run["connection"], nullptr);
  EXPECT_TRUE(run["actor"].get<std::string>().starts_with("token ")) << run;
  EXPECT_EQ(host_->sql("select run_id from sluice.change where op = 'insert' limit 1"),
            done.document()["run"].get<std::string>());

  const std::string answer = send_cut("customer", all);
  EXPECT_NE(answer.find(" 408 "), std::string::npos) << answer;
  const std::int64_t stored_rows = host_->count("select count(*) from sluice.own_entity");
  EXPECT_GE(stored_rows, 30'000);
  EXPECT_LT(stored_rows, 40'000);
  EXPECT_NE(answer.find(fmt::format("{} rows are stored ({} new, 0 changed, 10 unchanged)",
                                    stored_rows, stored_rows - 10)),
            std::string::npos)
      << answer;
  const json cut = get("/runs?stream=customer&limit=1").document()["runs"][0];
  EXPECT_EQ(cut["outcome"], "failed") << cut;
  EXPECT_EQ(cut["file"], "cut.csv");
  EXPECT_EQ(cut["inserted"], stored_rows - 10);
  EXPECT_EQ(cut["error"]["class"], "request.cut");
  EXPECT_EQ(host_->sql("select detail->>'inserted' from sluice.audit where action = 'type.import' "
                       "order by audit_id desc limit 1"),
            std::to_string(stored_rows - 10));
  const std::string log = host_->log();
  const std::size_t ended = log.find("import.ended");
  ASSERT_NE(ended, std::string::npos);
  EXPECT_NE(log.find("import.ended", ended + 1), std::string::npos);
  const Reply rest = send("customer/import", all);
  EXPECT_EQ(rest.document()["inserted"], 40'000 - stored_rows) << rest.text;
}

}  // namespace
}  // namespace sluice::e2e
