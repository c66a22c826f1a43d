#include "e2e/hot_plug_world.hpp"

namespace sluice::e2e {

namespace fs = std::filesystem;
using nlohmann::json;

HotPlug::HotPlug() : plugins_(directory_ / "plugins") {
  fs::create_directory(plugins_);
  fs::permissions(plugins_, fs::perms(0755));
  host_->settings = {"connectors.directories=[\"" + plugins_.string() + "\"]"};
}

void HotPlug::start_host(const std::string& failpoints) {
  host_->start(failpoints);
  pid_ = host_->process().pid();
}

void HotPlug::expect_no_restart() {
  EXPECT_TRUE(host_->process().running()) << host_->log();
  EXPECT_EQ(host_->process().pid(), pid_);
}

fs::path HotPlug::version(const std::string& name) {
  return fs::path(SLUICE_BINARY_DIR) / "versions" / (name + ".so");
}

fs::path HotPlug::animal(const std::string& name) {
  return fs::path(SLUICE_BINARY_DIR) / "zoo" / (name + ".so");
}

void HotPlug::drop(const fs::path& file, const std::string& as) {
  const fs::path hidden = plugins_ / (as + ".part");
  fs::copy_file(file, hidden, fs::copy_options::overwrite_existing);
  fs::last_write_time(hidden, fs::last_write_time(file));
  fs::rename(hidden, plugins_ / as);
}

json HotPlug::file(const std::string& name) {
  const json all = host_->client().global("GET", "/v1/connectors");
  for (const json& one : all["files"]) {
    if (one["file"] == (plugins_ / name).string()) return one;
  }
  return nullptr;
}

bool HotPlug::becomes(const std::string& name, const std::string& state) {
  return eventually(std::chrono::seconds(30), [&] {
    const json found = file(name);
    return state == "gone" ? found.is_null() : found.is_object() && found["state"] == state;
  });
}

json HotPlug::listed(const std::string& id, const std::string& version) {
  const json all = host_->client().get("/connectors");
  for (const json& one : all["connectors"]) {
    if (one["id"] == id && one["version"] == version) return one;
  }
  return nullptr;
}

json HotPlug::send(const std::string& method, const std::string& path, const json& body) {
  return host_->client().send(method, path, body);
}

json HotPlug::install(const std::string& id, const json& body) {
  return send("POST", "/connectors/" + id + "/install", body);
}

json HotPlug::harbour(const std::string& name) const {
  json body;
  body["connector"] = "harbour";
  body["name"] = name;
  body["secrets"]["api_key"] = kKey;
  body["egress"]["base_urls"]["api"] = fake_->url();
  body["egress"]["allow_loopback"] = true;
  return body;
}

json HotPlug::connect_harbour(const std::string& name, const json& config) {
  json body = harbour(name);
  body["config"] = config;
  body["second_connection"] = true;
  return send("POST", "/connections", body);
}

Error HotPlug::refusal(const std::string& method, const std::string& path, const json& body) {
  try {
    const json answer = send(method, path, body);
    ADD_FAILURE() << method << " " << path << " was not refused: " << answer;
  } catch (const Failure& failure) {
    return failure.error();
  }
  return {};
}

std::string HotPlug::state(const std::string& connection) {
  return host_->sql("select state from sluice.connection where name = '" + connection + "'");
}

bool HotPlug::state_becomes(const std::string& connection, const std::string& wanted) {
  return eventually(std::chrono::seconds(60), [&] { return state(connection) == wanted; });
}

bool HotPlug::is_read(const std::string& connection, const std::string& stream) {
  return eventually(std::chrono::seconds(60), [&] {
    return host_->sql(
               "select (snapshot_done or s.mode <> 'snapshot') and s.state = 'idle' from "
               "sluice.stream s join sluice.connection using (workspace_id, connection_id) "
               "where name = '" +
               connection + "' and stream = '" + stream + "'") == "t";
  });
}

void HotPlug::slow_customers(int ms) {
  json fault;
  fault["match"] = "/v1/customers";
  fault["times"] = 0;
  fault["kind"] = "slow";
  fault["delay_ms"] = ms;
  fake_->control("POST", "faults", json::array({fault}));
}

}  // namespace sluice::e2e
