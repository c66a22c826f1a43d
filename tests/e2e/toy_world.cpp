#include "e2e/toy_world.hpp"

#include <curl/curl.h>

#include "base/clock.hpp"

namespace sluice::e2e {
namespace {

using nlohmann::json;

std::size_t append(char* data, std::size_t size, std::size_t count, void* out) {
  static_cast<std::string*>(out)->append(data, size * count);
  return size * count;
}

/// How a difference between a row and the shop's entity reads; empty when there is none.
std::string row_difference(const json& row, const json& truth) {
  for (const auto& [field, shop] : truth.items()) {
    if (field == "version" || field == "gone") continue;
    const std::string wanted = shop.get<std::string>();
    const json& stored = row.at(field);
    bool same = false;
    if (wanted.empty()) {
      same = stored.is_null();
    } else if (field == "price") {
      same = stored.is_number() && stored.get<double>() == std::stod(wanted);
    } else if (field == "listed_at") {
      const auto time = from_rfc3339(stored.get<std::string>());
      same = time && std::to_string(time->count()) == wanted;
    } else {
      same = (stored.is_string() ? stored.get<std::string>() : stored.dump()) == wanted;
    }
    if (!same) return field + " is " + stored.dump() + ", the shop says " + wanted;
  }
  return {};
}

}  // namespace

ToyVendor::ToyVendor(const std::filesystem::path& directory, int page_max) {
  Launch launch;
  launch.program = SLUICE_PYTHON;
  launch.arguments = {SLUICE_SOURCE_DIR "/tests/support/toy_vendor/toy_vendor.py", "--key", kToyKey,
                      "--page-max", std::to_string(page_max)};
  launch.output = directory / "toyshop.out";
  launch.errors = directory / "toyshop.err";
  process_ = std::make_unique<Process>(launch);
  const bool ready = eventually(std::chrono::seconds(30), [&] {
    return read_file(launch.output).find('\n') != std::string::npos;
  });
  if (!ready) throw std::runtime_error("Toyshop does not listen: " + read_file(launch.errors));
  url_ = "http://" + json::parse(read_file(launch.output)).at("listening").get<std::string>();
}

std::string ToyVendor::ask(const std::string& what, const std::optional<std::string>& body) {
  CURL* curl = curl_easy_init();
  std::string answer;
  curl_easy_setopt(curl, CURLOPT_URL, (url_ + "/_control/" + what).c_str());
  curl_easy_setopt(curl, CURLOPT_NOPROXY, "*");
  curl_easy_setopt(curl, CURLOPT_TIMEOUT, 60L);
  curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, append);
  curl_easy_setopt(curl, CURLOPT_WRITEDATA, &answer);
  if (body) curl_easy_setopt(curl, CURLOPT_COPYPOSTFIELDS, body->c_str());
  const CURLcode code = curl_easy_perform(curl);
  long status = 0;
  curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &status);
  curl_easy_cleanup(curl);
  if (code != CURLE_OK || status != 200) throw std::runtime_error(what + ": " + answer);
  return answer;
}

std::vector<Language> languages() {
  std::vector<Language> all = {{"c11", "toyc"}};
#ifdef SLUICE_TOY_RUST
  all.push_back({"rust", "toyrust"});
#endif
  return all;
}

void ToyWorld::open_shop(int toys, int makers, std::vector<std::string> more, int page_max) {
  vendor_ = std::make_unique<ToyVendor>(directory_, page_max);
  vendor_->post("seed", {{"toys", toys}, {"makers", makers}});
  json directories = std::move(more);
  for (const Language& language : languages())
    directories.push_back(std::string(SLUICE_BINARY_DIR) + "/toys/" + language.name);
  host_->settings.push_back("connectors.directories=" + directories.dump());
  host_->start();
  host_->client().send(
      "POST", "/types",
      json::parse(
          R"({"name":"customer","attributes":[{"name":"email","type":"text","link_key":"email"}]})"));
}

void ToyWorld::connect(const std::string& id, const std::string& key) {
  cli::Client client = host_->client();
  client.send("POST", "/connectors/" + id + "/install", json::object());
  json body;
  body["connector"] = id;
  body["name"] = id;
  body["secrets"]["api_key"] = key;
  body["intervals"]["makers"] = 1;
  body["egress"]["base_urls"]["api"] = vendor_->url();
  body["egress"]["allow_loopback"] = true;
  client.send("POST", "/connections", body);
}

void ToyWorld::read_all_toys(const std::string& id) {
  json body;
  body["streams"] = {"toys"};
  body["full"] = true;
  host_->client().send("POST", "/connections/" + id + "/sync", body);
}

std::string ToyWorld::column(const std::string& id, const std::string& type,
                             const std::string& what, const std::string& entity) {
  return host_->sql("select coalesce((select " + what + "::text from acme." + id + "_" + type +
                    " where external_id = '" + entity + "'), 'gone')");
}

bool ToyWorld::becomes(const std::string& id, const std::string& type, const std::string& what,
                       const std::string& entity, const std::string& value) {
  return eventually(std::chrono::seconds(60),
                    [&] { return column(id, type, what, entity) == value; });
}

std::string ToyWorld::difference(const std::string& id) {
  for (const char* type : {"toy", "maker"}) {
    const auto rows = host_->rows("acme." + id + "_" + type);
    const auto truth = vendor_->truth(std::string(type) + "s");
    for (const auto& [entity, shop] : truth) {
      if (!rows.contains(entity)) return entity + " is missing";
      const std::string differs = row_difference(rows.at(entity), shop);
      if (!differs.empty()) return entity + ": " + differs;
    }
    if (rows.size() != truth.size())
      return std::string("more rows of ") + type + " than the shop has";
  }
  return {};
}

void ToyWorld::expect_the_shops_truth(const std::string& id) {
  EXPECT_TRUE(settled()) << host_->log();
  EXPECT_TRUE(eventually(std::chrono::seconds(30), [&] { return difference(id).empty(); }))
      << difference(id) << "\n"
      << host_->log();
}

}  // namespace sluice::e2e
