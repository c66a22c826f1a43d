// From a vendor's socket to the rows: an answer that is cut, wherever it is, deletes nothing.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <boost/asio.hpp>

#include "pg/sync/people.hpp"
#include "sync/reconcile.hpp"
#include "sync/run.hpp"

namespace sluice::sync {
namespace {

using asio::ip::tcp;
using contract::InputKind;
using contract::StepResult;

constexpr std::string_view kList = "1,Ann\n2,Bob\n3,Cy\n4,Di\n";

/// Answers each request with `text`, of which the next answer is cut.
class Vendor {
 public:
  explicit Vendor(asio::io_context& loop)
      : acceptor_(loop, tcp::endpoint(asio::ip::address_v4::loopback(), 0)) {
    asio::co_spawn(loop, accept(), asio::detached);
  }
  [[nodiscard]] std::string url() const {
    return fmt::format("http://127.0.0.1:{}", acceptor_.local_endpoint().port());
  }

  std::string text;
  std::size_t cut_at = std::string::npos;

 private:
  Task<> accept() {
    for (;;) {
      tcp::socket socket = co_await acceptor_.async_accept(asio::use_awaitable);
      try {
        std::string request;
        co_await asio::async_read_until(socket, asio::dynamic_buffer(request), "\r\n\r\n",
                                        asio::use_awaitable);
        const std::string part = text.substr(0, std::exchange(cut_at, std::string::npos));
        co_await asio::async_write(socket, asio::buffer(part), asio::use_awaitable);
      } catch (const boost::system::system_error&) {
      }
    }
  }

  tcp::acceptor acceptor_;
};

/// Reads the list as a connector without doubts does: each line is a person, the last one, too.
class ListSession final : public connector::Session {
 public:
  Result<contract::StepOutput> step(const contract::Input& input) override {
    contract::StepOutput output;
    if (input.kind == InputKind::start) {
      contract::Request request;
      request.id = 1;
      request.target = "/list.csv";
      output.requests.push_back(std::move(request));
      output.result = StepResult::wait;
      return output;
    }
    if (input.kind != InputKind::response || input.response->status != 200) {
      output.result = StepResult::failed;
      output.failure.emplace();
      return output;
    }
    std::string_view rest = input.response->body;
    while (!rest.empty()) {
      const std::string_view line = rest.substr(0, rest.find('\n'));
      rest.remove_prefix(std::min(rest.size(), line.size() + 1));
      add(output.page, line.substr(0, line.find(',')));
    }
    output.checkpoint = "read";
    output.result = StepResult::done;
    return output;
  }
  [[nodiscard]] bool ended() const override { return false; }

 private:
  static void add(contract::Page& page, std::string_view id) {
    contract::Value name;
    name.kind = contract::Kind::string;
    name.text = page.keep("somebody");
    const auto values = page.allocate<contract::Value>(1);
    values[0] = name;
    contract::Record& record = page.records.emplace_back();
    record.external_id = page.keep(id);
    record.values = values;
  }
};

class NoKey final : public fetch::CredentialSource {
 public:
  Task<Result<fetch::Credential>> credential(fetch::SecretUse, fetch::CredentialVersion) override {
    co_return fetch::Credential("x");
  }
};

class WholeAnswers : public PeopleTest {
 protected:
  void TearDown() override {
    client_.reset();  // what lives on the loop goes before it
    vendor_.reset();
    PeopleTest::TearDown();
  }
  void SetUp() override {
    PeopleTest::SetUp();
    contract::Host host;
    host.name = "api";
    manifest_.hosts.push_back(host);
    vendor_ = std::make_unique<Vendor>(io());
    allowance_.base_urls["api"] = vendor_->url();
    allowance_.addresses.loopback = true;
    fetch::ClientOptions options;
    options.retry.backoff_first = std::chrono::milliseconds(1);
    client_ = std::make_unique<fetch::Client>(executor(), options, clock_, entropy_, delay_);
    fetch::BudgetOptions free;
    free.requests_per_second = 0;
    budget_ = std::make_unique<fetch::Budget>(free, clock_, delay_);
  }

  /// Writes as the work of a connection does (ConnectionWork::RunSink).
  class Sink final : public PageSink {
   public:
    Sink(WholeAnswers& test, const BegunEnumeration& begun) : test_(test), begun_(begun) {}
    Task<ingest::PageCounts> store(const contract::Page& page, ingest::PageEffects effects,
                                   bool last) override {
      effects.snapshot_done = last;
      effects.enumeration = begun_.recording ? begun_.number : 0;
      co_return co_await test_.writer_->write(test_.context_, page, std::move(effects));
    }

   private:
    WholeAnswers& test_;
    BegunEnumeration begun_;
  };

  Task<SessionEnd> drive(Sink& sink) {
    auto session = std::make_shared<ListSession>();
    fetch::FetchStats stats;
    const fetch::SendContext send{manifest_.hosts, manifest_.auth, config_, allowance_, key_,
                                  *budget_,        stats};
    SessionRun one{.session = std::move(session),
                   .client = *client_,
                   .send = send,
                   .sink = &sink,
                   .clock = clock_,
                   .entropy = entropy_,
                   .stopping = [] { return false; }};
    co_return co_await run_session(std::move(one));
  }

  Store store() { return Store{pool(), clock_, *catalogs_, *writer_}; }

  /// One full read, and the comparison that follows when it was complete.
  SessionEnd read() {
    const BegunEnumeration begun =
        run(begin_enumeration(store(), proof_of(context_), ConnectionId(1), manifest_, "people"));
    Sink sink(*this, begun);
    SessionEnd end = run(drive(sink));
    compared_ = ask("select reconcile from sluice.stream") == "due";
    if (!compared_) return end;
    Enumeration enumeration;
    enumeration.stream = "people";
    enumeration.number = begun.number;
    const std::function<bool()> go_on = [] { return true; };
    run(reconcile(store(), context_, enumeration, ReconcileLimits(), go_on));
    return end;
  }

  std::string ask(const std::string& sql) { return run(pool().query(sql)).get<std::string>(0, 0); }
  std::string deleted() {
    return ask("select count(*)::text from vendor.acme_person where deleted_at is not null");
  }

  SystemEntropy entropy_;
  fetch::TimerDelay delay_;
  nlohmann::json config_ = nlohmann::json::object();
  fetch::EgressAllowance allowance_;
  NoKey key_;
  std::unique_ptr<Vendor> vendor_;
  std::unique_ptr<fetch::Client> client_;
  std::unique_ptr<fetch::Budget> budget_;
  bool compared_ = false;
};

TEST_F(WholeAnswers, wherever_a_list_is_cut_nothing_is_deleted) {
  const std::string framed =
      fmt::format("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{}", kList.size(), kList);
  const std::string unframed = fmt::format("HTTP/1.1 200 OK\r\nX-A: 1\r\n\r\n{}", kList);
  vendor_->text = framed;
  ASSERT_TRUE(read().done());
  ASSERT_EQ(ask("select count(*)::text from vendor.acme_person"), "4");
  for (const std::string& text : {framed, unframed}) {
    vendor_->text = text;
    for (std::size_t at = 0; at <= text.size(); ++at) {
      vendor_->cut_at = at;
      const SessionEnd end = read();
      EXPECT_TRUE(end.done()) << at;
      EXPECT_EQ(end.unframed, text == unframed) << at;
      EXPECT_EQ(compared_, text == framed) << at << ": what nobody saw the end of is not complete";
      ASSERT_EQ(deleted(), "0") << at << " of " << text;
    }
  }
  // What is missing in a whole answer is gone all the same.
  vendor_->text = "HTTP/1.1 200 OK\r\nContent-Length: 12\r\n\r\n1,Ann\n2,Bob\n";
  EXPECT_TRUE(read().done());
  EXPECT_GE(std::stoi(deleted()), 2);
}

}  // namespace
}  // namespace sluice::sync
