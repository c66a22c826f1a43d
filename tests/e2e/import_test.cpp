// Imports as a person and a program see them: a look before, a type from a file, columns by other
// names, what is told while it runs and when it is cut.
#include <fmt/format.h>

#include <fstream>
#include <sstream>

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

  RawClient raw(host_->url());
  raw.send(
      fmt::format("POST /v1/workspaces/acme/types/customer/import?file=cut.csv HTTP/1.1\r\n"
                  "Host: x\r\nAuthorization: Bearer {}\r\nContent-Type: text/csv\r\n"
                  "Content-Length: {}\r\n\r\n",
                  host_->token(), all.size()));
  raw.send(std::string_view(all).substr(0, all.size() - 100));
  raw.end_sending();
  const std::string answer = raw.next_answer();
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
