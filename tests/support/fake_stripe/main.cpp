// fake_stripe: Stripe's API for tests and benches, in one process. See README.md.

#include <charconv>
#include <csignal>
#include <cstdio>
#include <exception>
#include <functional>
#include <map>
#include <memory>
#include <shared_mutex>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

#include "api.hpp"
#include "control.hpp"

namespace fake_stripe {
namespace {

struct Options {
  Settings settings;
  std::int64_t event_lag_ms = 0;
  std::int64_t latency_ms = 0;
  std::int64_t control_port = -1;  ///< -1: only on the Stripe side's port
  std::vector<std::string> keys;
};

std::int64_t integer(const std::string& flag, const std::string& text) {
  std::int64_t value = 0;
  const char* end = text.data() + text.size();
  const auto result = std::from_chars(text.data(), end, value);
  if (result.ec != std::errc() || result.ptr != end || value < 0) {
    throw std::invalid_argument(flag + ": '" + text + "' is not a number of 0 or more");
  }
  return value;
}

using Setter = std::function<void(const std::string& flag, const std::string& value)>;

std::map<std::string, Setter> setters(Options& o) {
  Settings& s = o.settings;
  const auto number = [](auto& target) -> Setter {
    return [&target](const std::string& flag, const std::string& value) {
      target = static_cast<std::remove_reference_t<decltype(target)>>(integer(flag, value));
    };
  };
  return {{"--port", number(s.port)},
          {"--seed", number(s.seed)},
          {"--customers", number(s.customers)},
          {"--subscription-percent", number(s.subscription_percent)},
          {"--page-limit-max", number(s.page_limit_max)},
          {"--event-lag-ms", number(o.event_lag_ms)},
          {"--latency-ms", number(o.latency_ms)},
          {"--control-port", number(o.control_port)},
          {"--now", number(s.now_s)},
          {"--freeze-clock", number(s.freeze_clock)},
          {"--key", [&o](const auto&, const std::string& value) { o.keys.push_back(value); }},
          {"--account-version",
           [&s](const auto&, const std::string& value) { s.account_version = value; }}};
}

/// Takes "--flag value" and "--flag=value"; --freeze-clock stands alone.
Options parse_options(const std::vector<std::string>& args) {
  Options options;
  const std::map<std::string, Setter> known = setters(options);
  for (std::size_t i = 0; i < args.size(); ++i) {
    const auto equals = args[i].find('=');
    const std::string flag = args[i].substr(0, equals);
    const auto setter = known.find(flag);
    if (setter == known.end()) throw std::invalid_argument("unknown flag '" + flag + "'");
    if (equals != std::string::npos) {
      setter->second(flag, args[i].substr(equals + 1));
    } else if (flag == "--freeze-clock") {
      setter->second(flag, "1");
    } else if (i + 1 < args.size()) {
      setter->second(flag, args[++i]);
    } else {
      throw std::invalid_argument(flag + " needs a value");
    }
  }
  if (options.keys.empty()) options.keys.emplace_back("sk_test_fake_demo_key");
  return options;
}

void announce(World& world, std::uint16_t port, const HttpServer* control) {
  const std::shared_lock lock(world.mutex);
  Json line = {{"listening", "127.0.0.1:" + std::to_string(port)},
               {"port", port},
               {"customers", world.of("customer").live().size()},
               {"subscriptions", world.of("subscription").live().size()},
               {"invoices", world.of("invoice").live().size()},
               {"seed", world.settings().seed},
               {"account", world.account_id()},
               {"account_version", world.settings().account_version},
               {"now", world.clock().now_s()}};
  if (control != nullptr) line["control"] = "127.0.0.1:" + std::to_string(control->port());
  std::printf("%s\n", line.dump().c_str());
  std::fflush(stdout);
}

sigset_t ending_signals() {
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGTERM);
  sigaddset(&set, SIGINT);
  return set;
}

void run(const Options& options) {
  // Blocked before any thread exists, so that only the sigwait below sees them.
  const sigset_t signals = ending_signals();
  pthread_sigmask(SIG_BLOCK, &signals, nullptr);
  std::signal(SIGPIPE, SIG_IGN);
  Clock clock(options.settings.now_s, options.settings.freeze_clock);
  Platform platform(options.settings, clock);
  World& world = platform.own();
  world.event_lag_ms = options.event_lag_ms;
  Keys keys;
  for (const std::string& key : options.keys) keys.add(key);
  Faults faults;
  Limiter limiter;
  Stats stats;
  Switches switches;
  switches.latency_ms = options.latency_ms;
  Stop stop;
  Traffic traffic(world, stop);
  StripeApi api(platform, keys, faults, limiter, stats, switches, stop);
  HttpServer* stripe_side = nullptr;
  Control control({.platform = platform,
                   .keys = keys,
                   .faults = faults,
                   .limiter = limiter,
                   .stats = stats,
                   .switches = switches,
                   .traffic = traffic,
                   .go_away = [&](std::int64_t ms) { stripe_side->go_away(ms); },
                   .come_back = [&] { stripe_side->come_back(); }});
  HttpServer server(options.settings.port, [&](const HttpRequest& request) {
    return request.path().starts_with("/_control/") ? control.handle(request) : api.handle(request);
  });
  stripe_side = &server;
  std::unique_ptr<HttpServer> control_server;
  if (options.control_port >= 0) {
    control_server = std::make_unique<HttpServer>(static_cast<std::uint16_t>(options.control_port),
                                                  [&](const HttpRequest& request) {
                                                    if (request.path().starts_with("/_control/"))
                                                      return control.handle(request);
                                                    return HttpReply{.status = 404};
                                                  });
    control_server->start();
  }
  server.start();
  announce(world, server.port(), control_server.get());
  int signal = 0;
  sigwait(&signals, &signal);
  stop.request();
  traffic.stop();
  if (control_server) control_server->stop();
  server.stop();
}

}  // namespace
}  // namespace fake_stripe

int main(int argc, char** argv) {
  try {
    fake_stripe::run(fake_stripe::parse_options({argv + 1, argv + argc}));
    return 0;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "fake_stripe: %s\n", error.what());
    return 2;
  }
}
