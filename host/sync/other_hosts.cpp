#include "sync/other_hosts.hpp"

#include <fmt/format.h>

#include <boost/asio/use_awaitable.hpp>
#include <limits>
#include <nlohmann/json.hpp>
#include <optional>

#include "base/exact_json.hpp"
#include "base/log.hpp"
#include "base/outage.hpp"

namespace sluice::sync {
namespace {

using nlohmann::json;

const pg::Statement kSay{"host_say", R"(
  insert into sluice.host (host, listens, beat_at) values ($1, $2::jsonb, clock_timestamp())
  on conflict (host) do update set listens = excluded.listens, beat_at = excluded.beat_at)"};

const pg::Statement kForget{"host_forget", R"(
  delete from sluice.host where beat_at < now() - $1 * interval '1 millisecond')"};

const pg::Statement kOthers{"host_others", R"(
  select listens::text from sluice.host
  where beat_at >= now() - $2 * interval '1 millisecond' and host <> $1 order by beat_at desc limit $3)"};

std::optional<asio::ip::address> address_in(const json& value) {
  if (!value.is_string()) return std::nullopt;
  boost::system::error_code error;
  const auto address = asio::ip::make_address(value.get_ref<const std::string&>(), error);
  if (error) return std::nullopt;
  return address;
}

/// nullopt for what no host of this version says.
std::optional<fetch::Listener> listener_in(const json& value) {
  if (!value.is_object()) return std::nullopt;
  const auto address = address_in(value.value("address", json()));
  const json port = value.value("port", json());
  const json what = value.value("what", json());
  if (!address || !port.is_number_integer() || !what.is_string()) return std::nullopt;
  const auto number = port.get<std::int64_t>();
  if (number < 0 || number > std::numeric_limits<std::uint16_t>::max()) return std::nullopt;
  fetch::Listener listener;
  listener.what = "another host's " + what.get<std::string>();
  listener.address = *address;
  listener.port = static_cast<std::uint16_t>(number);
  return listener;
}

const json& list_in(const json& document, const char* name) {
  static const json kNone = json::array();
  const auto list = document.find(name);
  return list != document.end() && list->is_array() ? *list : kNone;
}

}  // namespace

OtherHosts::OtherHosts(pg::Pool& pool, const Clock& clock, fetch::OwnEndpoints& own,
                       Options options)
    : pool_(pool), clock_(clock), own_(own), options_(std::move(options)) {}

void OtherHosts::listens(std::string what, const asio::ip::address& address, std::uint16_t port) {
  listeners_.push_back({std::move(what), address, port});
}

std::string OtherHosts::said() const {
  json document;
  document["network"] = options_.network;
  document["addresses"] = json::array();
  for (const asio::ip::address& address : options_.interfaces()) {
    if (address.is_loopback() || document["addresses"].size() == kAddressesMax) continue;
    document["addresses"].push_back(address.to_string());
  }
  document["listeners"] = json::array();
  for (const fetch::Listener& listener : listeners_) {
    json one;
    one["what"] = listener.what;
    one["address"] = listener.address.to_string();
    one["port"] = listener.port;
    document["listeners"].push_back(std::move(one));
  }
  return write_json(document);
}

void OtherHosts::add_said(const std::string& text, std::vector<fetch::Listener>& others) const {
  const json document = stored_json(text);
  if (!document.is_object()) return;
  const json network = document.value("network", json());
  // Who does not know where he is may be here.
  const bool here = options_.network.empty() || !network.is_string() ||
                    network.get_ref<const std::string&>().empty() || network == options_.network;
  for (const json& said : list_in(document, "listeners")) {
    const std::optional<fetch::Listener> listener = listener_in(said);
    if (!listener) continue;
    const bool everywhere = listener->address.is_unspecified();
    if (here || !(everywhere || listener->address.is_loopback())) others.push_back(*listener);
    if (!everywhere) continue;
    for (const json& address : list_in(document, "addresses")) {
      fetch::Listener one = *listener;
      const auto of_it = address_in(address);
      if (!of_it || of_it->is_loopback() || of_it->is_unspecified()) continue;
      one.address = *of_it;
      others.push_back(std::move(one));
    }
  }
}

Task<void> OtherHosts::beat() {
  auto connection = co_await pool_.acquire();
  pg::Pipeline beat;
  beat.add(kSay, pg::Params(options_.host, said()));
  const std::int64_t ended_after = options_.ended_after.count();
  beat.add(kForget, pg::Params(ended_after));
  beat.add(kOthers, pg::Params(options_.host, ended_after, std::int64_t{kHostsMax}));
  const std::vector<pg::QueryResult> results = co_await connection->run(std::move(beat));
  std::vector<fetch::Listener> others;
  for (int row = 0; row < results.back().rows(); ++row)
    add_said(results.back().get<std::string>(row, 0), others);
  own_.set_others(std::move(others));
}

Task<void> OtherHosts::keep_beating() {
  asio::steady_timer timer(pool_.executor());
  Outage away;
  for (;;) {
    timer.expires_after(options_.beat);
    co_await timer.async_wait(asio::use_awaitable);
    try {
      co_await beat();
      if (const auto over = away.succeeded(clock_.steady()))
        log::info("host.beats_again", {{"failures", over->failures}});
    } catch (const Failure& error) {
      if (away.failed(clock_.steady()))
        log::warning("host.beat_failed", {{"error", error.what()}, {"failures", away.failures()}});
    }
  }
}

}  // namespace sluice::sync
