#include "e2e/world.hpp"

#include <curl/curl.h>
#include <libpq-fe.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include <sstream>

#include "base/clock.hpp"

namespace sluice::e2e {
namespace {

using nlohmann::json;

std::size_t append(char* data, std::size_t size, std::size_t count, void* context) {
  static_cast<std::string*>(context)->append(data, size * count);
  return size * count;
}

std::string http(const std::string& method, const std::string& url, const std::string* body) {
  CURL* curl = curl_easy_init();
  std::string answer;
  curl_easy_setopt(curl, CURLOPT_URL, url.c_str());
  curl_easy_setopt(curl, CURLOPT_NOPROXY, "*");
  curl_easy_setopt(curl, CURLOPT_CUSTOMREQUEST, method.c_str());
  curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, append);
  curl_easy_setopt(curl, CURLOPT_WRITEDATA, &answer);
  curl_easy_setopt(curl, CURLOPT_TIMEOUT, 60L);
  if (body != nullptr) curl_easy_setopt(curl, CURLOPT_POSTFIELDS, body->c_str());
  const CURLcode code = curl_easy_perform(curl);
  long status = 0;
  curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &status);
  curl_easy_cleanup(curl);
  if (code != CURLE_OK || status >= 300) {
    throw std::runtime_error(method + " " + url + ": " + curl_easy_strerror(code) + " " +
                             std::to_string(status) + " " + answer);
  }
  return answer;
}

std::string built(const char* name) { return std::string(SLUICE_BINARY_DIR) + "/bin/" + name; }

/// Every entity type of the connector, and how many attributes of each row must have been compared
/// at least.
struct Checked {
  const char* type;
  int attributes_min;
};
constexpr Checked kChecked[] = {{"account", 3},
                                {"balance_transaction", 8},
                                {"charge", 12},
                                {"checkout_session", 10},
                                {"coupon", 6},
                                {"credit_note", 8},
                                {"customer", 6},
                                {"dispute", 6},
                                {"invoice", 10},
                                {"invoice_line", 3},
                                {"invoice_payment", 4},
                                {"payment_intent", 8},
                                {"payment_method", 3},
                                {"payout", 8},
                                {"price", 5},
                                {"product", 4},
                                {"promotion_code", 5},
                                {"refund", 6},
                                {"setup_intent", 5},
                                {"subscription", 6},
                                {"subscription_item", 1}};

/// What the vendor's object says under an attribute's name: a member of that name, or one of a
/// member ("recurring_interval": recurring.interval). nullptr when nothing does.
const json* said_of(const json& vendor, const std::string& attribute) {
  if (!vendor.is_object()) return nullptr;
  if (const auto found = vendor.find(attribute); found != vendor.end()) return &*found;
  for (auto at = attribute.find('_'); at != std::string::npos; at = attribute.find('_', at + 1)) {
    const auto inner = vendor.find(attribute.substr(0, at));
    if (inner == vendor.end() || !inner->is_object()) continue;
    if (const json* said = said_of(*inner, attribute.substr(at + 1))) return said;
  }
  return nullptr;
}

/// True when the row's value says what the vendor's JSON says. Times come as seconds, references as
/// id or object.
bool same(const json& row, const json& vendor) {
  if (vendor.is_null()) return row.is_null();
  if (row.is_null()) return false;
  if (vendor.is_object() && row.is_string()) return vendor.contains("id") && vendor["id"] == row;
  if (vendor.is_array() && row.is_array()) {
    return vendor.size() == row.size() &&
           std::equal(row.begin(), row.end(), vendor.begin(),
                      [](const json& a, const json& b) { return a == b || same(a, b); });
  }
  if (vendor.is_number_integer() && row.is_string()) {
    const auto time = from_rfc3339(row.get<std::string>());
    return time && time->count() / 1'000'000 == vendor.get<std::int64_t>();
  }
  if (vendor.is_string() && row.is_number()) {  // decimals
    return std::stod(vendor.get<std::string>()) == row.get<double>();
  }
  return row == vendor;
}

void expect_same_rows(const Checked& checked, const std::map<std::string, json>& rows,
                      const std::map<std::string, json>& truth) {
  SCOPED_TRACE(checked.type);
  EXPECT_EQ(rows.size(), truth.size());
  int shown = 0;
  for (const auto& [id, vendor] : truth) {
    const auto found = rows.find(id);
    if (found == rows.end()) {
      if (shown++ < 5) ADD_FAILURE() << "missing: " << id;
      continue;
    }
    int compared = 0;
    for (const auto& [attribute, value] : found->second.items()) {
      // Nested lists become rows of their own; the host's own columns are not the vendor's.
      if (attribute == "id" || attribute == "object") continue;
      const json* said = said_of(vendor, attribute);
      if (said == nullptr) continue;
      ++compared;
      if (!same(value, *said) && shown++ < 5) {
        ADD_FAILURE() << id << "." << attribute << " is " << value << ", the vendor says " << *said;
      }
    }
    if (compared < checked.attributes_min && shown++ < 5) {
      ADD_FAILURE() << id << ": only " << compared << " attributes could be compared";
    }
  }
  for (const auto& [id, row] : rows) {
    if (!truth.contains(id) && shown++ < 5) ADD_FAILURE() << "not at the vendor: " << id;
  }
}

}  // namespace

FakeStripe::FakeStripe(const std::filesystem::path& directory, int customers,
                       std::vector<std::string> more) {
  Launch launch;
  launch.program = built("fake_stripe");
  launch.arguments = {"--port", "0", "--seed", "7", "--customers", std::to_string(customers),
                      "--key",  kKey};
  launch.arguments.insert(launch.arguments.end(), more.begin(), more.end());
  launch.output = directory / "fake.out";
  launch.errors = directory / "fake.err";
  process_ = std::make_unique<Process>(launch);
  const bool ready = eventually(std::chrono::seconds(60), [&] {
    return read_file(launch.output).find('\n') != std::string::npos;
  });
  if (!ready) throw std::runtime_error("the fake does not listen: " + read_file(launch.errors));
  url_ = "http://" + json::parse(read_file(launch.output)).at("listening").get<std::string>();
}

json FakeStripe::control(const std::string& method, const std::string& path, const json& body) {
  const std::string text = body.is_null() ? "" : body.dump();
  return json::parse(http(method, url_ + "/_control/" + path, body.is_null() ? nullptr : &text));
}

std::string FakeStripe::text(const std::string& path) {
  return http("GET", url_ + "/_control/" + path, nullptr);
}

std::map<std::string, json> FakeStripe::truth(const std::string& type) {
  std::map<std::string, json> objects;
  std::istringstream lines(text("truth/" + type));
  for (std::string line; std::getline(lines, line);) {
    if (line.empty()) continue;
    json object = json::parse(line);
    std::string id = object.at("id").get<std::string>();
    objects.emplace(std::move(id), std::move(object));
  }
  return objects;
}

json FakeStripe::counts() { return control("GET", "truth"); }

Host::Host(std::filesystem::path directory) : directory_(std::move(directory)) {}

Host::~Host() {
  if (process_ && process_->running()) {
    process_->signal(SIGTERM);
    eventually(std::chrono::seconds(30), [&] { return !process_->running(); });
  }
  // A host that was killed leaves its database running for the next one; here there is no next one.
  std::istringstream pid_file(read_file(directory_ / "data/postgres/postmaster.pid"));
  int pid = 0;
  if (pid_file >> pid && pid > 1) {
    ::kill(pid, SIGQUIT);
    eventually(std::chrono::seconds(30), [&] { return ::kill(pid, 0) != 0; });
  }
}

void Host::start(const std::string& failpoints) {
  Launch launch;
  const char* other = std::getenv("SLUICE_TEST_SLUICED");  // an older version, to see it fail
  launch.program = !program.empty() ? program : other != nullptr ? other : built("sluiced");
  launch.arguments = {"--data", (directory_ / "data").string(), "--listen", "127.0.0.1:0",
                      "--set",  "workspace.default=acme",       "--set",    "sync.poll_ms=50",
                      "--set",  "sync.lease_ttl_ms=2000"};
  // Whoever built the connectors need not be who runs the test.
  struct stat built_by {};
  std::vector<std::string> more;
  if (::stat(SLUICE_BINARY_DIR, &built_by) == 0 && built_by.st_uid != 0 &&
      built_by.st_uid != ::geteuid()) {
    more.push_back("connectors.owners=[\"" + std::to_string(built_by.st_uid) + "\"]");
  }
  // How full the disk of whoever tests is, is not what is tested; versions of before know no such
  // setting.
  if (program.empty() && other == nullptr) {
    more.emplace_back("disk.free_percent_min=0");
    more.emplace_back("disk.free_bytes_min=0");
  }
  more.insert(more.end(), settings.begin(), settings.end());
  if (!database.empty() && as_app) {
    sql("do $$ begin create role sluice_app login; exception when duplicate_object or "
        "unique_violation then null; end $$");
    more.push_back("database.owner_url=" + database);
    more.push_back("database.url=" + database + " user=sluice_app");
  } else if (!database.empty()) {
    more.push_back("database.url=" + database);
  }
  for (const std::string& setting : more) {
    launch.arguments.emplace_back("--set");
    launch.arguments.push_back(setting);
  }
  launch.environment = environment;
  if (program.empty() && other == nullptr) launch.environment["SLUICE_CHECK_ANSWERS"] = "1";
  if (!failpoints.empty()) launch.environment["SLUICE_FAILPOINTS"] = failpoints;
  launch.output = directory_ / ("host." + std::to_string(++starts_) + ".out");
  launch.errors = directory_ / "host.err";
  process_ = std::make_unique<Process>(launch);
  const bool ready = eventually(std::chrono::seconds(120), [&] {
    return !process_->running() ||
           read_file(launch.output).find("listening on ") != std::string::npos;
  });
  const std::string output = read_file(launch.output);
  const auto at = output.find("listening on ");
  if (!ready || at == std::string::npos)
    throw std::runtime_error("the host does not start: " + log());
  url_ = output.substr(at + 13, output.find('\n', at) - at - 13);
  // The token's line follows at the first start: where it is, or itself from an older version.
  if (token_.empty() && first_of_its_database) {
    const auto said = [&](const std::string& before, const std::string& behind) {
      const std::string text = read_file(launch.output);
      const auto begin = text.find(before);
      const auto end = begin == std::string::npos ? begin : text.find(behind, begin);
      if (end == std::string::npos) return std::string();
      return text.substr(begin + before.size(), end - begin - before.size());
    };
    eventually(std::chrono::seconds(5), [&] {
      const std::string file = said("token: in ", " (");
      token_ = file.empty() ? said("shown this once: ", "\n") : read_file(file);
      while (token_.ends_with('\n')) token_.pop_back();
      return !token_.empty();
    });
  }
}

void Host::kill_hard() {
  process_->signal(SIGKILL);
  process_->wait();
}

int Host::stop() {
  process_->signal(SIGTERM);
  return process_->wait();
}

cli::Client Host::client(const std::string& token) const {
  cli::ClientOptions options;
  options.url = url_;
  options.token = token.empty() ? token_ : token;
  options.workspace = "acme";
  options.ca_file = ca_file;
  return cli::Client(options);
}

std::string Host::log() const { return read_file(directory_ / "host.err"); }

std::string Host::conninfo() const {
  if (!database.empty()) return database;
  return "host=" + (directory_ / "data/run").string() + " user=sluice dbname=sluice";
}

std::string Host::sql(const std::string& statement) {
  PGconn* connection = PQconnectdb(conninfo().c_str());
  PGresult* result = PQexec(connection, statement.c_str());
  std::string value;
  if (PQresultStatus(result) == PGRES_TUPLES_OK) {
    if (PQntuples(result) > 0) value = PQgetvalue(result, 0, 0);
  } else if (PQresultStatus(result) != PGRES_COMMAND_OK) {
    ADD_FAILURE() << statement << ": " << PQerrorMessage(connection);
  }
  PQclear(result);
  PQfinish(connection);
  return value;
}

std::map<std::string, json> Host::rows(const std::string& relation) {
  const json all =
      json::parse(sql("set time zone 'UTC'; select coalesce(jsonb_agg(to_jsonb(v)), '[]') from " +
                      relation + " v"));
  std::map<std::string, json> by_id;
  for (const json& row : all) by_id.emplace(row.at("external_id").get<std::string>(), row);
  return by_id;
}

World::World() {
  std::string pattern = (std::filesystem::temp_directory_path() / "sluice-e2e.XXXXXX").string();
  if (::mkdtemp(pattern.data()) == nullptr) throw std::runtime_error("no temporary directory");
  directory_ = pattern;
  std::filesystem::permissions(directory_, static_cast<std::filesystem::perms>(0711));
  host_ = std::make_unique<Host>(directory_);
}

World::~World() {
  host_.reset();
  fake_.reset();
  if (!HasFailure()) {
    std::error_code ignored;
    std::filesystem::remove_all(directory_, ignored);
  }
}

void World::start_fake(int customers, std::vector<std::string> more) {
  fake_ = std::make_unique<FakeStripe>(directory_, customers, std::move(more));
}

void World::install() {
  cli::Client client = host_->client();
  json type = json::parse(R"({"name":"customer","attributes":[
    {"name":"email","type":"text","format":"email"},{"name":"name","type":"text"},{"name":"plan","type":"text"}]})");
  if (own_email_ == OwnEmail::unique) type["attributes"][0]["unique"] = true;
  client.send("POST", "/types", type);
  client.send("POST", "/connectors/stripe/install", json::object());
}

json World::billing(const std::string& key) const {
  json body;
  body["connector"] = "stripe";
  body["name"] = "billing";
  body["secrets"]["api_key"] = key;
  body["config"]["event_lag_seconds"] = 0;
  body["intervals"]["events"] = 1;
  body["egress"]["base_urls"]["api"] = fake_->url();
  body["egress"]["allow_loopback"] = true;
  return body;
}

void World::connect(const std::string& key) {
  install();
  host_->client().send("POST", "/connections", billing(key));
}

json World::stream(const std::string& name) {
  const json shown = host_->client().get("/connections/billing");
  for (const json& one : shown.at("streams")) {
    if (one.at("name") == name) return one;
  }
  ADD_FAILURE() << "there is no stream " << name << " in " << shown;
  return nullptr;
}

void World::read_again(std::vector<std::string> streams) {
  json body;
  body["streams"] = std::move(streams);
  body["full"] = true;
  host_->client().send("POST", "/connections/billing/sync", body);
}

void World::import_own(int count) {
  std::string csv = fake_->text("own_customers.csv?count=" + std::to_string(count));
  cli::Client client = host_->client();
  const json result = client.upload("/types/customer/import", {{"format", "csv"}}, "text/csv",
                                    [&csv] { return std::exchange(csv, {}); });
  ASSERT_EQ(result["rejected"], 0) << result;
  ASSERT_EQ(result["inserted"], count) << result;
}

bool World::settled(std::chrono::seconds most) {
  return eventually(most, [this] {
    return host_->count(
               "select (select count(*) from sluice.stream where (mode = 'snapshot' and not "
               "snapshot_done) or state in "
               "('new','failed') or reconcile in ('due','confirmed')) + (select count(*) from "
               "sluice.refetch) + (select count(*) from "
               "sluice.link_queue)"
               " + (select count(*) from sluice.sync_run where finished_at is null and stream not "
               "in ('events'))"
               " + (select (count(*) = 0)::int from sluice.stream)") == 0;
  });
}

std::string World::unsettled() {
  return host_->sql(
      "select concat_ws(E'\\n', (select string_agg(concat_ws(' ', stream, mode, state, "
      "snapshot_done, next_run_at, reason), E'\\n') from sluice.stream where state <> 'idle' or "
      "(mode "
      "= 'snapshot' and not snapshot_done)), (select string_agg(concat_ws(' ', 'refetch', type, "
      "external_id, attempts, reason), E'\\n') from sluice.refetch), (select concat('link queue ', "
      "count(*)) from sluice.link_queue), (select string_agg(concat_ws(' ', 'run', run_id, stream, "
      "kind, started_at), E'\\n') from sluice.sync_run where finished_at is null))");
}

void World::expect_row_counts_true() {
  // Every table of vendor rows and of own ones, counted; beside the sums. Rows of either alone are
  // wrong as well.
  const std::string tables = host_->sql(
      "select string_agg(format('select workspace_id, %L as relation, connection_id as part, "
      "count(*) as live from %s where deleted_at is null group by 1, 3', relname, "
      "oid::regclass), ' union all ') from pg_class where relkind = 'r' and relnamespace = "
      "'vendor'::regnamespace");
  const std::string wrong = host_->sql(
      "with truth as (" + tables +
      " union all select workspace_id, 'own_entity', type_id, count(*) from sluice.own_entity "
      "where deleted_at is null group by 1, 3), said as (select workspace_id, relation, part, "
      "sum(live) as live from (select workspace_id, relation, part, live from sluice.row_count "
      "union all select workspace_id, relation, part, live from sluice.row_delta) c group by 1, "
      "2, 3 having sum(live) <> 0) select coalesce(string_agg(format('%s of %s: %s, not %s', "
      "relation, part, said.live, truth.live), '; '), '') from truth full join said using "
      "(workspace_id, relation, part) where truth.live is distinct from said.live");
  EXPECT_EQ(wrong, "");
}

void World::expect_tables_equal_truth() {
  expect_row_counts_true();
  for (const Checked& checked : kChecked) {
    expect_same_rows(checked, host_->rows(std::string("acme.stripe_") + checked.type),
                     fake_->truth(checked.type));
  }
}

}  // namespace sluice::e2e
