#include "connector/in_process.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <string>
#include <utility>
#include <vector>

#include "base/bytes.hpp"
#include "connector/flight_recorder.hpp"
#include "connector/library.hpp"
#include "connector/sink.hpp"

namespace sluice::connector {
namespace {

using contract::Input;
using contract::InputKind;
using contract::Operation;
using contract::SessionArgs;
using contract::StepOutput;
using contract::StepResult;

constexpr std::size_t kIdsMax = 10'000;
/// A connector that answers MORE so often without putting anything out will not end by itself.
constexpr int kIdleStepsMax = 1000;
/// Readable bytes behind a body, for SIMD parsers (sluice_input.body).
constexpr std::size_t kBodyPadding = 64;

constexpr std::array<std::string_view, 7> kOperations = {
    "check", "discover", "read", "fetch", "receive", "subscribe", "unsubscribe"};

sluice_bytes borrow(std::string_view text) {
  return {reinterpret_cast<const std::uint8_t*>(text.data()), text.size()};
}

std::vector<sluice_header> borrow(const contract::Headers& headers) {
  std::vector<sluice_header> out;
  out.reserve(headers.size());
  for (const auto& [name, value] : headers) out.push_back({borrow(name), borrow(value)});
  return out;
}

/// Makes the 64 bytes behind `text` readable.
void pad(std::string& text) { text.reserve(text.size() + kBodyPadding); }

const void* no_extension(void*, sluice_bytes) { return nullptr; }

/// What sessions share with their code: one per loaded connector version.
struct Loaded {
  contract::Manifest manifest;
  std::string sha256;
  std::unique_ptr<const Library> library;
  FlightRecorder* recorder = nullptr;
};

/// As the flight recorder is to keep the calls of a session.
RecordedCall call_of(const Loaded& loaded, const SessionArgs& args) {
  RecordedCall call;
  call.connector = loaded.manifest.id;
  call.version = loaded.manifest.version;
  call.sha256 = loaded.sha256;
  call.operation = kOperations[static_cast<std::size_t>(args.operation) - 1];
  call.subject = args.stream;
  if (args.operation == Operation::fetch)
    call.subject = loaded.manifest.entity_types.at(args.type).name;
  call.workspace = args.owner.workspace;
  call.connection = args.owner.connection;
  call.connection_name = args.owner.connection_name;
  call.run = args.owner.run;
  return call;
}

std::unexpected<Error> broke_contract(std::string_view rule, std::string what) {
  return fail(ErrorKind::internal, "connector.contract",
              fmt::format("the connector broke rule {}: {}", rule, what),
              "Report it to the connector's author");
}

/// Everything that open() was given, alive and unmoved until close().
struct OpenMemory {
  explicit OpenMemory(const SessionArgs& from) : args(from) {
    pad(args.payload);
    for (const std::string& id : args.ids) ids.push_back(borrow(id));
    headers = borrow(args.headers);
    host.struct_size = sizeof(host);
    host.abi_major = SLUICE_ABI_MAJOR;
    host.abi_minor = SLUICE_ABI_MINOR;
    host.query_extension = &no_extension;
    open.struct_size = sizeof(open);
    open.operation = static_cast<sluice_operation>(args.operation);
    open.config_json = borrow(args.config_json);
    open.stream = borrow(args.stream);
    open.checkpoint_format = args.checkpoint.empty() ? 0 : args.checkpoint_format;
    open.type = args.type;
    open.checkpoint = borrow(args.checkpoint);
    open.ids = ids.data();
    open.id_count = static_cast<std::uint32_t>(ids.size());
    open.records_per_step_max = args.records_per_step_max;
    open.bytes_per_step_max = args.bytes_per_step_max;
    open.payload = borrow(args.payload);
    open.headers = headers.data();
    open.header_count = static_cast<std::uint32_t>(headers.size());
    open.page_size = args.page_size;
  }
  OpenMemory(const OpenMemory&) = delete;
  OpenMemory& operator=(const OpenMemory&) = delete;

  SessionArgs args;
  std::vector<sluice_bytes> ids;
  std::vector<sluice_header> headers;
  sluice_host host{};
  sluice_open_args open{};
};

class InProcessSession final : public Session {
 public:
  InProcessSession(std::shared_ptr<const Loaded> loaded, const SessionArgs& args,
                   const contract::Stream* stream)
      : loaded_(std::move(loaded)),
        memory_(args),
        recorded_(call_of(*loaded_, args)),
        sink_(loaded_->manifest, memory_.args, stream) {}

  ~InProcessSession() override {
    if (session_ == nullptr) return;
    const OnThread here(loaded_->recorder, recorded_, Function::close);
    try {
      entry().close(session_);
    } catch (...) {  // NOLINT: nothing may leave a destructor, and nothing is left to tell
    }
  }

  /// Calls open(); the session is of no use when it fails.
  Result<void> start() {
    sluice_status status = SLUICE_E_INTERNAL;
    sluice_session* opened = nullptr;
    try {
      const OnThread here(loaded_->recorder, recorded_, Function::open);
      status = entry().open(&memory_.host, &memory_.open, &opened);
    } catch (...) {
      return broke_contract("SLP-B02", "an exception crossed open()");
    }
    if (status == SLUICE_E_UNSUPPORTED) {
      return fail(
          ErrorKind::unsupported, "connector.operation_unsupported",
          fmt::format("connector '{}' answers UNSUPPORTED to '{}', although its manifest lists it",
                      loaded_->manifest.id, operation_name(memory_.args.operation)));
    }
    if (status != SLUICE_OK) {
      return broke_contract("SLP-S01",
                            fmt::format("open() returned {}; a wrong configuration is to be "
                                        "FAILED(CONFIG) from the first step",
                                        status));
    }
    if (opened == nullptr) return broke_contract("SLP-S01", "open() returned OK but no session");
    session_ = opened;
    return {};
  }

  Result<StepOutput> step(const Input& input) override {
    if (auto fits = check_state(input); !fits) return std::unexpected(std::move(fits.error()));
    const bool is_answer =
        input.kind == InputKind::response || input.kind == InputKind::transport_error;
    if (is_answer) sink_.answered(input.response->request_id);
    Result<StepOutput> output = call(input);
    state_ = next_state(output);
    return output;
  }

  [[nodiscard]] bool ended() const override { return state_ == State::ended; }

  static std::string_view operation_name(Operation operation) {
    return kOperations[static_cast<std::size_t>(operation) - 1];
  }

 private:
  using OnThread = FlightRecorder::OnThread;
  using Function = FlightRecorder::Function;
  enum class State { open, wait, more, sleep, ended };

  [[nodiscard]] const sluice_entry_v1& entry() const { return loaded_->library->entry(); }

  static std::unexpected<Error> misuse(std::string what) {
    return fail(ErrorKind::internal, "connector.session_state", std::move(what),
                "Give the session what its last result asked for (connector/session.hpp)");
  }

  /// SLP-S04, seen from the host: what the caller may give now.
  [[nodiscard]] Result<void> check_state(const Input& input) const {
    if (state_ == State::ended) return misuse("a step after the session ended");
    switch (input.kind) {
      case InputKind::start:
        if (state_ != State::open) return misuse("start is the first step only");
        return {};
      case InputKind::cancel:
        return {};
      case InputKind::response:
      case InputKind::transport_error:
        if (state_ == State::open) return misuse("the first step must be start");
        if (input.response == nullptr || !sink_.is_outstanding(input.response->request_id)) {
          return misuse("a response to no outstanding request");
        }
        return {};
      case InputKind::resume:
        if (state_ != State::more) return misuse("resume without a step that answered 'more'");
        return {};
      case InputKind::timer:
        if (state_ != State::sleep) return misuse("timer without a step that answered 'sleep'");
        return {};
    }
    return misuse("an unknown kind of input");
  }

  Result<StepOutput> call(const Input& input) {
    sluice_input in{};
    in.struct_size = sizeof(in);
    in.kind = static_cast<sluice_input_kind>(input.kind);
    in.now_ms = input.now_ms;
    std::copy(input.entropy.begin(), input.entropy.end(), in.entropy);
    std::vector<sluice_header> headers;
    std::string padded;
    if (input.kind == InputKind::response || input.kind == InputKind::transport_error) {
      const contract::Response& response = *input.response;
      const bool is_response = input.kind == InputKind::response;
      headers = borrow(response.headers);
      in.request_id = response.request_id;
      in.status = is_response ? response.status : 0;
      in.headers = headers.data();
      in.header_count = static_cast<std::uint32_t>(headers.size());
      in.body = borrow(padded_body(is_response ? response.body : response.transport_error, padded));
    }
    std::int64_t wake_at_ms = 0;
    sluice_status status = SLUICE_E_INTERNAL;
    sink_.begin();
    try {
      const OnThread here(loaded_->recorder, recorded_, Function::step);
      status = entry().step(session_, &in, sink_.table(), &wake_at_ms);
    } catch (...) {
      sink_.blame("SLP-B02", "an exception crossed step()");
    }
    return sink_.finish(status, wake_at_ms, input.kind == InputKind::cancel);
  }

  /// `body` itself when it is padded already, else a copy in `padded`.
  static std::string_view padded_body(const std::string& body, std::string& padded) {
    if (body.capacity() - body.size() >= kBodyPadding) return body;
    padded.reserve(body.size() + kBodyPadding);
    padded = body;
    return padded;
  }

  State next_state(Result<StepOutput>& output) {
    if (!output) return State::ended;
    if (output->result == StepResult::more && is_idle(*output)) {
      if (++idle_steps_ > kIdleStepsMax) {
        output = broke_contract(
            "SLP-S10",
            fmt::format("{} steps in a row answered MORE without any output", idle_steps_));
        return State::ended;
      }
    } else {
      idle_steps_ = 0;
    }
    switch (output->result) {
      case StepResult::wait:
        return State::wait;
      case StepResult::more:
        return State::more;
      case StepResult::sleep:
        return State::sleep;
      case StepResult::done:
      case StepResult::failed:
        return State::ended;
    }
    return State::ended;
  }

  static bool is_idle(const StepOutput& output) {
    return output.page.empty() && output.requests.empty() && !output.checkpoint &&
           !output.result_json;
  }

  std::shared_ptr<const Loaded> loaded_;
  OpenMemory memory_;
  FlightRecorder::Entry recorded_;
  Sink sink_;
  sluice_session* session_ = nullptr;
  State state_ = State::open;
  int idle_steps_ = 0;
};

std::unexpected<Error> bad_args(std::string what) {
  return fail(ErrorKind::bad_input, "connector.bad_args", std::move(what));
}

Result<void> check_read(const contract::Manifest& manifest, const SessionArgs& args) {
  if (manifest.find_stream(args.stream) == nullptr) {
    return bad_args(fmt::format("connector '{}' has no stream '{}'", manifest.id, args.stream));
  }
  if (args.checkpoint.empty()) return {};
  if (args.checkpoint.size() > SLUICE_CHECKPOINT_BYTES_MAX) {
    return bad_args(fmt::format("a checkpoint of {} bytes; at most {} are allowed",
                                args.checkpoint.size(), SLUICE_CHECKPOINT_BYTES_MAX));
  }
  const auto& reads = manifest.checkpoint_reads;
  if (std::find(reads.begin(), reads.end(), args.checkpoint_format) == reads.end()) {
    return fail(
        ErrorKind::bad_input, "connector.checkpoint_format",
        fmt::format("connector '{}' {} does not read checkpoint format {}", manifest.id,
                    manifest.version, args.checkpoint_format),
        "Read the stream again from its start, or use the version that wrote the checkpoint");
  }
  return {};
}

Result<void> check_fetch(const contract::Manifest& manifest, const SessionArgs& args) {
  if (args.type >= manifest.entity_types.size()) {
    return bad_args(fmt::format("connector '{}' has {} entity types; {} is none of them",
                                manifest.id, manifest.entity_types.size(), args.type));
  }
  if (args.ids.empty() || args.ids.size() > kIdsMax) {
    return bad_args(fmt::format("fetch of {} ids; 1 to {} are allowed", args.ids.size(), kIdsMax));
  }
  for (const std::string& id : args.ids) {
    if (id.empty() || id.size() > kExternalIdBytesMax || !is_utf8(id)) {
      return bad_args("fetch: an external id is empty, too long or no UTF-8");
    }
  }
  return {};
}

Result<void> check_args(const contract::Manifest& manifest, const SessionArgs& args) {
  const std::string_view name = InProcessSession::operation_name(args.operation);
  if (!manifest.supports(name)) {
    return fail(
        ErrorKind::unsupported, "connector.operation_unsupported",
        fmt::format("connector '{}' {} does not offer '{}'", manifest.id, manifest.version, name));
  }
  if (args.records_per_step_max == 0 || args.bytes_per_step_max == 0) {
    return bad_args("the limits of a step must be above zero");
  }
  if (args.operation == Operation::read) return check_read(manifest, args);
  if (args.operation == Operation::fetch) return check_fetch(manifest, args);
  return {};
}

class InProcessCode final : public ConnectorCode {
 public:
  explicit InProcessCode(std::shared_ptr<const Loaded> loaded) : loaded_(std::move(loaded)) {}

  [[nodiscard]] const contract::Manifest& manifest() const override { return loaded_->manifest; }
  [[nodiscard]] const std::string& sha256() const override { return loaded_->sha256; }

  Result<std::unique_ptr<Session>> open(const SessionArgs& args) const override {
    const sluice_entry_v1& entry = loaded_->library->entry();
    if (auto abi = check_abi(entry.abi_major, entry.required_minor, "the entry at open()"); !abi) {
      return std::unexpected(std::move(abi.error()));
    }
    if (auto checked = check_args(loaded_->manifest, args); !checked) {
      return std::unexpected(std::move(checked.error()));
    }
    const contract::Stream* stream =
        args.operation == Operation::read ? loaded_->manifest.find_stream(args.stream) : nullptr;
    auto session = std::make_unique<InProcessSession>(loaded_, args, stream);
    if (auto started = session->start(); !started)
      return std::unexpected(std::move(started.error()));
    return session;
  }

 private:
  std::shared_ptr<const Loaded> loaded_;
};

}  // namespace

Result<std::shared_ptr<const ConnectorCode>> load_in_process(Admitted admitted,
                                                             FlightRecorder* recorder) {
  RecordedCall call;
  call.connector = admitted.inspected.manifest.id;
  call.version = admitted.inspected.manifest.version;
  call.sha256 = admitted.sha256;
  const FlightRecorder::Entry recorded(call);
  Result<std::unique_ptr<const Library>> library = [&] {
    const FlightRecorder::OnThread here(recorder, recorded, FlightRecorder::Function::load);
    return Library::load(admitted);  // its initialisers run here
  }();
  if (!library) return std::unexpected(std::move(library.error()));
  auto loaded = std::make_shared<Loaded>();
  loaded->manifest = std::move(admitted.inspected.manifest);
  loaded->sha256 = std::move(admitted.sha256);
  loaded->library = std::move(*library);
  loaded->recorder = recorder;
  return std::make_shared<const InProcessCode>(std::move(loaded));
}

}  // namespace sluice::connector
