// A certificate for one test, and what speaks TLS with it.
#pragma once

#include <fmt/format.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>

#include <cstdio>
#include <filesystem>
#include <string>

namespace sluice::testing {

/// Self-signed, valid for an hour around now or long expired.
struct Certificate {
  enum class Age { valid, expired };
  /// `names` as OpenSSL writes alternative names: "DNS:api.example.com", "IP:127.0.0.1".
  explicit Certificate(Age age, const char* names = "DNS:api.example.com")
      : key(EVP_EC_gen("P-256")), x509(X509_new()) {
    const long from = age == Age::valid ? -3600 : -7200;
    const long to = age == Age::valid ? 3600 : -3600;
    X509_set_version(x509, 2);
    ASN1_INTEGER_set(X509_get_serialNumber(x509), 1);
    X509_gmtime_adj(X509_getm_notBefore(x509), from);
    X509_gmtime_adj(X509_getm_notAfter(x509), to);
    X509_set_pubkey(x509, key);
    X509_NAME* name = X509_get_subject_name(x509);
    X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC,
                               reinterpret_cast<const unsigned char*>(names), -1, -1, 0);
    X509_set_issuer_name(x509, name);
    X509V3_CTX context;
    X509V3_set_ctx_nodb(&context);
    X509V3_set_ctx(&context, x509, x509, nullptr, nullptr, 0);
    X509_EXTENSION* extension = X509V3_EXT_conf_nid(nullptr, &context, NID_subject_alt_name, names);
    X509_add_ext(x509, extension, -1);
    X509_EXTENSION_free(extension);
    X509_sign(x509, key, EVP_sha256());
    const std::filesystem::path place = std::filesystem::temp_directory_path();
    path = (place / fmt::format("sluice-tls-{}-{}.pem", ::getpid(), static_cast<void*>(this)))
               .string();
    key_path = path + ".key";
    std::FILE* file = std::fopen(path.c_str(), "w");
    PEM_write_X509(file, x509);
    std::fclose(file);
    file = std::fopen(key_path.c_str(), "w");
    PEM_write_PrivateKey(file, key, nullptr, nullptr, 0, nullptr, nullptr);
    std::fclose(file);
    std::filesystem::permissions(key_path, std::filesystem::perms::owner_read);
  }
  ~Certificate() {
    std::filesystem::remove(path);
    std::filesystem::remove(key_path);
    X509_free(x509);
    EVP_PKEY_free(key);
  }
  Certificate(const Certificate&) = delete;
  Certificate& operator=(const Certificate&) = delete;

  EVP_PKEY* key;
  X509* x509;
  std::string path;      ///< the certificate alone, as a client trusts it
  std::string key_path;  ///< its key, for who serves
};

}  // namespace sluice::testing
