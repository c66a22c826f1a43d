#include "plugins/stripe/conversation.hpp"

#include <algorithm>
#include <charconv>
#include <system_error>

namespace sluice::stripe_test {

std::size_t Outcome::largest_checkpoint() const {
  std::size_t most = 0;
  for (const std::string& checkpoint : checkpoints) most = std::max(most, checkpoint.size());
  return most;
}

std::size_t Outcome::distinct() const {
  std::size_t count = 0;
  for (const std::uint8_t one : times) count += one > 0 ? 1 : 0;
  return count;
}

const connector::ConnectorCode& stripe_code() {
  static const auto code = [] {
    std::string name = (std::filesystem::temp_directory_path() / "sluice-stripe-XXXXXX").string();
    const std::filesystem::path directory = ::mkdtemp(name.data());
    connector::Registry registry{connector::Store(directory / "store")};
    auto loaded = expect(registry.load_file(SLUICE_CONNECTOR_DIR "/stripe.so"));
    std::error_code ignored;
    std::filesystem::remove_all(directory, ignored);
    return loaded;
  }();
  return *code;
}

std::string parameter(const std::string& target, std::string_view name) {
  std::size_t at = target.find('?');
  while (at != std::string::npos) {
    const std::size_t end = target.find('&', at + 1);
    std::string text;
    for (std::size_t i = at + 1; i < std::min(end, target.size()); ++i) {
      if (target[i] == '%') {
        text += static_cast<char>(std::stoi(target.substr(i + 1, 2), nullptr, 16));
        i += 2;
      } else {
        text += target[i];
      }
    }
    if (text.starts_with(std::string(name) + "=")) return text.substr(name.size() + 1);
    at = end;
  }
  return {};
}

namespace {

constexpr std::size_t kKeptMax = 20'000;  ///< in full

void keep(Outcome& outcome, std::unordered_map<std::string, int>& where, std::uint32_t type,
          std::string_view id) {
  constexpr std::size_t kNumberMax = 1'000'000;
  const std::size_t digits = id.size() - (id.find_last_not_of("0123456789") + 1);
  std::size_t number = 0;
  std::from_chars(id.data() + id.size() - digits, id.data() + id.size(), number);
  if (digits > 0 && number < kNumberMax) {
    if (outcome.times.size() <= number) outcome.times.resize(number + 1);
    ++outcome.times[number];
  }
  if (++outcome.puts > kKeptMax) return;
  std::string key = stripe_code().manifest().entity_types.at(type).name + " " + std::string(id);
  outcome.order.push_back(key);
  ++where[std::move(key)];
}

std::string value_text(const contract::Value& value) {
  switch (value.kind) {
    case contract::Kind::null:
      return "null";
    case contract::Kind::boolean:
      return value.number != 0 ? "true" : "false";
    case contract::Kind::int64:
      return std::to_string(value.number);
    case contract::Kind::string:
      return '"' + std::string(value.text) + '"';
    default:
      return std::string(contract::to_string(value.kind)) + " " + std::string(value.text);
  }
}

void keep_discovered(Outcome& outcome, const contract::Record& record) {
  if (record.named.empty()) return;
  auto& values = outcome.discovered[stripe_code().manifest().entity_types.at(record.type).name +
                                    " " + std::string(record.external_id)];
  values.clear();
  for (const contract::NamedValue& named : record.named)
    values[std::string(named.name)] = value_text(named.value);
}

void keep_whole(Outcome& outcome, const contract::Record& record) {
  constexpr std::size_t kWholeMax = 1000;
  const std::string name = stripe_code().manifest().entity_types.at(record.type).name + " " +
                           std::string(record.external_id);
  if (!record.whole) {
    outcome.whole.erase(name);
  } else if (outcome.whole.size() < kWholeMax) {
    outcome.whole.insert(name);
  }
}

void take(Outcome& outcome, contract::StepOutput& output) {
  for (const auto& record : output.page.records) {
    keep_whole(outcome, record);
    keep(outcome, outcome.records, record.type, record.external_id);
    keep_discovered(outcome, record);
  }
  for (const auto& notice : output.page.notices)
    keep(outcome, outcome.notices, notice.type, notice.external_id);
  for (const auto& rejected : output.page.rejected) {
    outcome.rejected.push_back(rejected.code);
    outcome.reasons.push_back(rejected.reason);
  }
  if (output.checkpoint) {
    outcome.checkpoints.push_back(*output.checkpoint);
    outcome.before.push_back(outcome.puts);
  }
  if (output.result_json) outcome.result = *output.result_json;
}

}  // namespace

Outcome converse(const contract::SessionArgs& args, const Vendor& vendor, std::int64_t now,
                 std::size_t steps_max) {
  Outcome outcome;
  auto opened = stripe_code().open(args);
  if (!opened) {
    outcome.broken = opened.error().describe();
    return outcome;
  }
  std::vector<contract::Request> waiting;
  contract::Response response;
  contract::Input input{.kind = contract::InputKind::start, .now_ms = now * 1000};
  for (std::size_t step = 0; step < steps_max; ++step) {
    auto output = (*opened)->step(input);
    if (!output) {
      outcome.broken = output.error().describe();
      return outcome;
    }
    // A failed step counts for nothing.
    if (output->result == contract::StepResult::failed) {
      outcome.failure = output->failure;
      return outcome;
    }
    take(outcome, *output);
    for (auto& request : output->requests) {
      outcome.requests.push_back(request.target);
      waiting.push_back(std::move(request));
    }
    outcome.most_at_once = std::max(outcome.most_at_once, waiting.size());
    input.response = nullptr;
    switch (output->result) {
      case contract::StepResult::done:
        outcome.done = true;
        return outcome;
      case contract::StepResult::more:
        input.kind = contract::InputKind::resume;
        break;
      case contract::StepResult::wait: {
        Answer answer = vendor(waiting.front().target);
        response = contract::Response{.request_id = waiting.front().id, .status = answer.status};
        response.headers = std::move(answer.headers);
        response.body = std::move(answer.body);
        waiting.erase(waiting.begin());
        input.kind = contract::InputKind::response;
        input.response = &response;
        break;
      }
      default:
        outcome.broken = "an end that Stripe's connector has no use for";
        return outcome;
    }
  }
  return outcome;
}

}  // namespace sluice::stripe_test
