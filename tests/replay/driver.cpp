#include "replay/driver.hpp"

#include <dlfcn.h>

#include <algorithm>
#include <cstring>
#include <map>
#include <memory>
#include <set>
#include <stdexcept>
#include <thread>

#include "replay/trace.hpp"

namespace sluice::replay {
namespace {

constexpr std::size_t kStepsMax = 100'000;
constexpr std::size_t kBodyPadding = 64;

/// A text in memory of its own, gone and overwritten when it goes: who kept a pointer is caught by
/// ASan.
class Lent {
 public:
  explicit Lent(std::string_view text, std::size_t padding = 0)
      : memory_(new std::uint8_t[text.size() + padding]()), size_(text.size()), padding_(padding) {
    if (!text.empty()) std::memcpy(memory_.get(), text.data(), text.size());
  }
  Lent(Lent&&) = default;
  ~Lent() {
    if (memory_) std::memset(memory_.get(), 0xA5, size_ + padding_);
  }
  [[nodiscard]] sluice_bytes bytes() const { return {memory_.get(), size_}; }

 private:
  std::unique_ptr<std::uint8_t[]> memory_;
  std::size_t size_;
  std::size_t padding_;
};

struct Asked {
  std::uint64_t id;
  std::string target;
};

/// The state of one session on the host's side: what the sink may be told, and what it was told.
class Host {
 public:
  Host(const Library& library, const Case& test_case, const Drive& drive)
      : library_(library), case_(test_case), drive_(drive) {
    sink_.struct_size = sizeof(sluice_sink);
    sink_.ctx = this;
    sink_.record = [](void* ctx, const sluice_record* r) { return self(ctx).record(*r); };
    sink_.notice = [](void* ctx, const sluice_notice* n) { return self(ctx).notice(*n); };
    sink_.complete_set = [](void* ctx, const sluice_complete_set* s) {
      return self(ctx).complete_set(*s);
    };
    sink_.request = [](void* ctx, const sluice_request* r) { return self(ctx).request(*r); };
    sink_.checkpoint = [](void* ctx, sluice_bytes b) { return self(ctx).checkpoint(view(b)); };
    sink_.result = [](void* ctx, sluice_bytes b) { return self(ctx).result(view(b)); };
    sink_.fail = [](void* ctx, const sluice_failure* f) { return self(ctx).fail(*f); };
    sink_.log = [](void* ctx, std::int32_t level, sluice_bytes b) {
      return self(ctx).log(level, view(b));
    };
    sink_.total = [](void* ctx, std::int64_t n) { return self(ctx).total(n); };
  }

  Outcome run();

 private:
  static Host& self(void* ctx) { return *static_cast<Host*>(ctx); }

  void broke(const std::string& rule) {
    if (outcome_.broken_rules.size() < 20) outcome_.broken_rules.push_back(rule);
  }
  void add(std::string text, bool is_data) {
    Line line;
    line.text = std::move(text);
    line.is_data = is_data;
    outcome_.lines.push_back(std::move(line));
  }
  void check_call(const char* what) {
    if (std::this_thread::get_id() != step_thread_)
      broke(std::string("SLP-S06 ") + what + " outside step()");
    if (stopped_) broke(std::string("SLP-L05 ") + what + " after STOP");
    if (failed_) broke(std::string("SLP-S08 ") + what + " after fail()");
  }
  sluice_status taken() {
    if (++taken_ < drive_.records_per_step_max) return SLUICE_OK;
    stopped_ = true;
    return SLUICE_STOP;
  }

  sluice_status record(const sluice_record& r) {
    check_call("record()");
    if (const std::string fault = record_fault(library_.manifest(), r); !fault.empty()) {
      broke("SLP-D01 record " + std::string(view(r.external_id)) + ": " + fault);
      return SLUICE_E_ARG;
    }
    add(record_text(library_.manifest(), r), true);
    return taken();
  }
  sluice_status notice(const sluice_notice& n) {
    check_call("notice()");
    if (n.external_id.size == 0) broke("SLP-D01 notice without an id");
    add(notice_text(library_.manifest(), n), true);
    return taken();
  }
  sluice_status complete_set(const sluice_complete_set& s) {
    check_call("complete_set()");
    add(set_text(library_.manifest(), s), true);
    return taken();
  }
  sluice_status request(const sluice_request& r) {
    check_call("request()");
    std::string text = r.method == SLUICE_GET ? "GET " : "method " + std::to_string(r.method) + " ";
    const std::string target = decoded(view(r.target));
    bool pinned = false;
    for (std::uint32_t i = 0; i < r.header_count; ++i) {
      const std::string_view name = view(r.headers[i].name);
      if (name == "Stripe-Version") {
        pinned = view(r.headers[i].value) == "2026-10-28.endive";
      } else {
        text += "{" + std::string(name) + ": " + std::string(view(r.headers[i].value)) + "} ";
      }
    }
    if (!pinned) text += "UNPINNED ";
    add(text + target, false);
    if (r.id == 0 || !outstanding_.insert(r.id).second) broke("SLP-R02 request id 0 or used twice");
    if (outstanding_.size() > SLUICE_REQUESTS_OUTSTANDING_MAX) broke("SLP-R02 too many requests");
    if (r.host != 0 || r.auth_slot != 0)
      broke("SLP-R01 host or auth slot that the manifest does not have");
    if (view(r.target).find_first_of(" []\"<>\\") != std::string_view::npos)
      broke("SLP-R02 target is not encoded");
    asked_.push_back({r.id, target});
    return SLUICE_OK;
  }
  sluice_status checkpoint(std::string_view bytes) {
    check_call("checkpoint()");
    if (case_.operation != "read") broke("SLP-S09 checkpoint outside READ");
    if (bytes.size() > SLUICE_CHECKPOINT_BYTES_MAX) broke("SLP-C01 checkpoint too large");
    add("checkpoint " + std::string(bytes), false);
    outcome_.lines.back().checkpoint = std::string(bytes);
    return SLUICE_OK;
  }
  sluice_status result(std::string_view json) {
    check_call("result()");
    if (!nlohmann::json::accept(json)) broke("SLP-X01 result is no JSON");
    ++results_;
    add("result " + std::string(json), false);
    return SLUICE_OK;
  }
  sluice_status fail(const sluice_failure& f) {
    check_call("fail()");
    if (f.message.size > 1024 || f.vendor_code.size > 128) broke("SLP-F01 failure texts too long");
    failed_ = true;
    add(failure_text(f), false);
    return SLUICE_OK;
  }
  sluice_status log(std::int32_t level, std::string_view text) {
    check_call("log()");
    static constexpr const char* kLevels[] = {"?", "debug", "info", "warning", "error"};
    add(std::string("log ") + kLevels[level >= 1 && level <= 4 ? level : 0] + " " +
            std::string(text),
        false);
    return SLUICE_OK;
  }
  sluice_status total(std::int64_t records) {
    check_call("total()");
    add("total " + std::to_string(records), false);
    return SLUICE_OK;
  }

  sluice_status step(sluice_session* session, const sluice_input& input) {
    stopped_ = false;
    taken_ = 0;
    std::int64_t wake = 0;
    sluice_status status = 0;
    const auto call = [&] {
      step_thread_ = std::this_thread::get_id();
      status = library_.entry().step(session, &input, &sink_, &wake);
      step_thread_ = {};
    };
    if (drive_.new_thread_each_step) {
      std::thread(call).join();
    } else {
      call();
    }
    check_result(status);
    return status;
  }

  void check_result(sluice_status status) {
    if ((status == SLUICE_STEP_FAILED) != failed_)
      broke("SLP-S08 FAILED and fail() do not go together");
    if (stopped_ && status != SLUICE_STEP_MORE && status >= 0) broke("SLP-L05 no MORE after STOP");
    if (!stopped_ && status == SLUICE_STEP_MORE) broke("SLP-L05 MORE without STOP");
    if (status == SLUICE_STEP_WAIT && outstanding_.empty()) broke("SLP-S08 WAIT without a request");
    const bool answers = case_.operation == "check";
    if (status == SLUICE_STEP_DONE && results_ != (answers ? 1 : 0))
      broke("SLP-X01 not exactly one result");
  }

  const Exchange* answer_to(const std::string& target) {
    const Exchange* found = nullptr;
    std::size_t skip = used_[target]++;
    for (const Exchange& exchange : case_.exchanges) {
      if (exchange.target != target) continue;
      found = &exchange;
      if (skip-- == 0) break;
    }
    return found;
  }

  sluice_status answer(sluice_session* session, const Asked& asked) {
    const Exchange* exchange = answer_to(asked.target);
    if (exchange == nullptr) {
      add("NO ANSWER RECORDED for " + asked.target, false);
      return SLUICE_E_INTERNAL;
    }
    std::vector<Lent> texts;
    texts.reserve(exchange->headers.size() * 2);
    std::vector<sluice_header> headers;
    for (const auto& [name, value] : exchange->headers) {
      sluice_header header;
      texts.emplace_back(name);
      header.name = texts.back().bytes();
      texts.emplace_back(value);
      header.value = texts.back().bytes();
      headers.push_back(header);
    }
    const Lent body(exchange->body, kBodyPadding);
    sluice_input input =
        blank(exchange->status == 0 ? SLUICE_INPUT_TRANSPORT_ERROR : SLUICE_INPUT_RESPONSE);
    input.request_id = asked.id;
    input.status = exchange->status;
    input.header_count = static_cast<std::uint32_t>(headers.size());
    input.headers = headers.data();
    input.body = body.bytes();
    outstanding_.erase(asked.id);
    return step(session, input);
  }

  [[nodiscard]] sluice_input blank(sluice_input_kind kind) const {
    sluice_input input{};
    input.struct_size = sizeof(input);
    input.kind = kind;
    input.now_ms = case_.now_ms;
    return input;
  }

  const Library& library_;
  const Case& case_;
  const Drive& drive_;
  sluice_sink sink_{};
  Outcome outcome_;
  std::thread::id step_thread_;
  std::vector<Asked> asked_;
  std::set<std::uint64_t> outstanding_;
  std::map<std::string, std::size_t> used_;
  std::uint32_t taken_ = 0;
  int results_ = 0;
  bool stopped_ = false;
  bool failed_ = false;
};

sluice_operation operation_of(const std::string& name) {
  static const std::map<std::string, sluice_operation> kOperations = {
      {"check", SLUICE_OP_CHECK},
      {"discover", SLUICE_OP_DISCOVER},
      {"read", SLUICE_OP_READ},
      {"fetch", SLUICE_OP_FETCH}};
  return kOperations.at(name);
}

Outcome Host::run() {
  const std::string checkpoint = drive_.from_checkpoint ? drive_.checkpoint : case_.checkpoint;
  sluice_host host{};
  host.struct_size = sizeof(host);
  host.abi_major = SLUICE_ABI_MAJOR;
  host.abi_minor = SLUICE_ABI_MINOR;
  host.query_extension = [](void*, sluice_bytes) -> const void* { return nullptr; };

  const auto bytes = [](const std::string& text) {
    sluice_bytes b;
    b.data = reinterpret_cast<const std::uint8_t*>(text.data());
    b.size = text.size();
    return b;
  };
  std::vector<sluice_bytes> ids;
  for (const std::string& id : case_.ids) ids.push_back(bytes(id));
  sluice_open_args args{};
  args.struct_size = sizeof(args);
  args.operation = operation_of(case_.operation);
  args.config_json = bytes(case_.config);
  args.stream = bytes(case_.stream);
  args.checkpoint = bytes(checkpoint);
  args.checkpoint_format = checkpoint.empty() ? 0 : case_.checkpoint_format;
  args.ids = ids.data();
  args.id_count = static_cast<std::uint32_t>(ids.size());
  args.records_per_step_max = drive_.records_per_step_max;
  args.bytes_per_step_max = 64u << 20;
  args.page_size = case_.page_size;
  const nlohmann::json& types = library_.manifest()["entity_types"];
  for (std::uint32_t i = 0; i < types.size(); ++i) {
    if (types[i]["name"] == case_.type) args.type = i;
  }

  sluice_session* session = nullptr;
  if (const sluice_status status = library_.entry().open(&host, &args, &session);
      status != SLUICE_OK) {
    add("open: " + std::to_string(status), false);
    return std::move(outcome_);
  }
  sluice_status status = step(session, blank(SLUICE_INPUT_START));
  for (std::size_t steps = 0; steps < kStepsMax; ++steps) {
    if (status == SLUICE_STEP_MORE) {
      status = step(session, blank(SLUICE_INPUT_CONTINUE));
    } else if (status == SLUICE_STEP_WAIT && !asked_.empty()) {
      const Asked next = asked_.front();
      asked_.erase(asked_.begin());
      status = answer(session, next);
    } else {
      break;
    }
  }
  if (status == SLUICE_STEP_DONE) add("done", false);
  if (status < 0) add("contract error " + std::to_string(status), false);
  if (status != SLUICE_STEP_DONE && status != SLUICE_STEP_FAILED && status >= 0)
    broke("the session did not end");
  if (status == SLUICE_STEP_DONE || status == SLUICE_STEP_FAILED) {
    const sluice_input again = blank(SLUICE_INPUT_CONTINUE);
    step_thread_ = std::this_thread::get_id();
    if (library_.entry().step(session, &again, &sink_, nullptr) != SLUICE_E_STATE) {
      broke("SLP-S01 a step after the end is not refused with SLUICE_E_STATE");
    }
  }
  library_.entry().close(session);
  return std::move(outcome_);
}

}  // namespace

Library::Library(const std::string& path) {
  void* handle = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE);
  if (handle == nullptr) throw std::runtime_error(std::string("dlopen: ") + dlerror());
  entry_ = static_cast<const sluice_entry_v1*>(dlsym(handle, SLUICE_ENTRY_SYMBOL));
  if (entry_ == nullptr) throw std::runtime_error(path + " has no " SLUICE_ENTRY_SYMBOL);
  const auto* begin = reinterpret_cast<const char*>(entry_->manifest);
  manifest_ = nlohmann::json::parse(begin, begin + entry_->manifest_size);
}

std::string Outcome::text() const {
  std::string out;
  for (const Line& line : lines) out += line.text + "\n";
  return out;
}

Outcome run(const Library& library, const Case& test_case, const Drive& drive) {
  return Host(library, test_case, drive).run();
}

}  // namespace sluice::replay
