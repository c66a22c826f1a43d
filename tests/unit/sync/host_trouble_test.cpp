#include "sync/host_trouble.hpp"

#include <gtest/gtest.h>

namespace sluice::sync {
namespace {

using contract::FailureClass;

SessionEnd end_of(FailureClass failure, std::string code, std::string transport_error = "") {
  SessionEnd end;
  end.failure.emplace();
  end.failure->failure_class = failure;
  end.failure->vendor_code = std::move(code);
  end.failure->message = "could not reach the vendor";
  end.transport_error = std::move(transport_error);
  return end;
}

TEST(HostTrouble, is_what_another_host_may_not_have) {
  struct Case {
    FailureClass failure;
    const char* code;
    const char* transport_error;
    const char* expected;
  };
  const Case cases[] = {
      {FailureClass::internal, "connector.not_on_this_host", "", "connector.not_on_this_host"},
      {FailureClass::internal, "connector.load_failed", "", "connector.load_failed"},
      {FailureClass::internal, "connector.store.full", "", "connector.store.full"},
      {FailureClass::internal, "connector.loading_stands", "", "connector.loading_stands"},
      {FailureClass::internal, "vault.root_key.missing", "", "vault.root_key.missing"},
      {FailureClass::upstream_transient, "", "fetch.transport.resolve: no", "host.no_dns"},
      {FailureClass::upstream_permanent, "", "fetch.transport.resolve: no", "host.no_dns"},
      {FailureClass::upstream_transient, "", "fetch.transport.no_such_name: no", ""},
      {FailureClass::upstream_transient, "", "fetch.transport.connect: no", ""},
      {FailureClass::auth, "connector.store.full", "", ""},
      {FailureClass::bad_data, "", "fetch.transport.resolve: an earlier one", ""},
  };
  for (const Case& one : cases) {
    SCOPED_TRACE(std::string(one.code) + " " + one.transport_error);
    const auto own = host_trouble(end_of(one.failure, one.code, one.transport_error));
    EXPECT_EQ(own ? own->code : "", one.expected);
  }
  EXPECT_FALSE(host_trouble(SessionEnd()));
}

TEST(HostTrouble, a_name_that_is_wrong_is_the_connections_configuration) {
  SessionEnd end = end_of(FailureClass::upstream_transient, "",
                          "fetch.transport.no_such_name: there is no host 'acmee.vendor.com'");
  say_wrong_name(end);
  EXPECT_EQ(end.failure->failure_class, FailureClass::config);
  EXPECT_EQ(end.failure->vendor_code, "fetch.transport.no_such_name");
  EXPECT_TRUE(end.failure->message.starts_with("there is no host 'acmee.vendor.com': "))
      << end.failure->message;
  EXPECT_FALSE(host_trouble(end));
  // What the connector knows better, and what is not about a name, stays as it said it.
  for (SessionEnd other :
       {end_of(FailureClass::auth, "", "fetch.transport.no_such_name: an earlier one"),
        end_of(FailureClass::upstream_transient, "", "fetch.transport.resolve: no")}) {
    const FailureClass said = other.failure->failure_class;
    say_wrong_name(other);
    EXPECT_EQ(other.failure->failure_class, said);
    EXPECT_EQ(other.failure->message, "could not reach the vendor");
  }
}

}  // namespace
}  // namespace sluice::sync
