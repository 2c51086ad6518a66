// X.509 by libcrypto.
#include "server/auth/certificates.h"

#include <arpa/inet.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <openssl/x509v3.h>
#include <sys/stat.h>

#include <algorithm>
#include <utility>

#include "common/error.h"
#include "common/files.h"
#include "common/text.h"
#include "server/auth/tokens.h"

namespace wring {
namespace {

namespace fs = std::filesystem;

constexpr int kAuthorityDays = 3650;
constexpr long kSkewSeconds = 3600;

template <auto Free>
struct Deleter {
  template <typename T>
  void operator()(T* object) const {
    Free(object);
  }
};
using Key = std::unique_ptr<EVP_PKEY, Deleter<EVP_PKEY_free>>;
using Certificate = std::unique_ptr<X509, Deleter<X509_free>>;
using Bio = std::unique_ptr<BIO, Deleter<BIO_free_all>>;
using Extension = std::pair<int, std::string>;  // NID, value as in OpenSSL's configuration

void require(bool done, const char* what) {
  if (done) return;
  throw Error(ErrorCode::kInternal, "OPENSSL",
              std::string(what) + ": " + ERR_error_string(ERR_get_error(), nullptr));
}

std::string text_of(BIO* bio) {
  char* data = nullptr;
  const long size = BIO_get_mem_data(bio, &data);
  return {data, static_cast<std::size_t>(size)};
}

std::string pem_of(X509* certificate) {
  const Bio bio(BIO_new(BIO_s_mem()));
  require(PEM_write_bio_X509(bio.get(), certificate) == 1, "write a certificate");
  return text_of(bio.get());
}

std::string pem_of(EVP_PKEY* key) {
  const Bio bio(BIO_new(BIO_s_mem()));
  require(PEM_write_bio_PKCS8PrivateKey(bio.get(), key, nullptr, nullptr, 0, nullptr, nullptr) == 1,
          "write a key");
  return text_of(bio.get());
}

Bio bio_of(const std::string& text) {
  return Bio(BIO_new_mem_buf(text.data(), static_cast<int>(text.size())));
}

Certificate parse_certificate(const std::string& pem) {
  Certificate certificate(PEM_read_bio_X509(bio_of(pem).get(), nullptr, nullptr, nullptr));
  require(certificate != nullptr, "read a certificate");
  return certificate;
}

Key parse_key(const std::string& pem) {
  Key key(PEM_read_bio_PrivateKey(bio_of(pem).get(), nullptr, nullptr, nullptr));
  require(key != nullptr, "read a key");
  return key;
}

Key make_key() {
  Key key(EVP_EC_gen("P-256"));
  require(key != nullptr, "make a key");
  return key;
}

void set_serial(X509* certificate) {
  unsigned char bytes[16];
  require(RAND_bytes(bytes, sizeof bytes) == 1, "take random bytes");
  bytes[0] &= 0x7f;  // a serial number is positive
  const std::unique_ptr<BIGNUM, Deleter<BN_free>> number(BN_bin2bn(bytes, sizeof bytes, nullptr));
  require(BN_to_ASN1_INTEGER(number.get(), X509_get_serialNumber(certificate)) != nullptr, "number");
}

void add_extension(X509* certificate, X509* issuer, const Extension& extension) {
  X509V3_CTX context;
  X509V3_set_ctx_nodb(&context);
  X509V3_set_ctx(&context, issuer, certificate, nullptr, nullptr, 0);
  const std::unique_ptr<X509_EXTENSION, Deleter<X509_EXTENSION_free>> made(
      X509V3_EXT_conf_nid(nullptr, &context, extension.first, extension.second.c_str()));
  require(made && X509_add_ext(certificate, made.get(), -1) == 1, "extend a certificate");
}

// Of `key`, signed by the issuer; by itself where there is none.
Certificate make_certificate(const std::string& name, EVP_PKEY* key, X509* issuer, EVP_PKEY* issuer_key,
                             int days, const std::vector<Extension>& extensions) {
  Certificate certificate(X509_new());
  X509* const raw = certificate.get();
  require(raw && X509_set_version(raw, X509_VERSION_3) == 1, "make a certificate");
  set_serial(raw);
  X509_gmtime_adj(X509_getm_notBefore(raw), -kSkewSeconds);
  X509_gmtime_adj(X509_getm_notAfter(raw), static_cast<long>(days) * 86400);
  X509_NAME* const subject = X509_get_subject_name(raw);
  require(X509_NAME_add_entry_by_txt(subject, "CN", MBSTRING_UTF8,
                                     reinterpret_cast<const unsigned char*>(name.c_str()), -1, -1, 0) == 1,
          "name a certificate");
  X509* const by = issuer ? issuer : raw;
  require(X509_set_issuer_name(raw, X509_get_subject_name(by)) == 1 && X509_set_pubkey(raw, key) == 1,
          "make a certificate");
  for (const auto& extension : extensions) add_extension(raw, by, extension);
  require(X509_sign(raw, issuer_key, EVP_sha256()) > 0, "sign a certificate");
  return certificate;
}

bool is_address(const std::string& host) {
  in6_addr bytes;
  return ::inet_pton(AF_INET, host.c_str(), &bytes) == 1 || ::inet_pton(AF_INET6, host.c_str(), &bytes) == 1;
}

// The value is a configuration in which a comma separates.
std::string subject_names(const std::vector<std::string>& hosts) {
  std::vector<std::string> names;
  for (const auto& host : hosts) {
    const bool safe = !host.empty() && host.find_first_not_of(
                                           "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
                                           "0123456789.-:*") == host.npos;
    if (!safe || (host.find(':') != host.npos && !is_address(host)))
      throw Error(ErrorCode::kInvalidArgument, "BAD_HOST", "'" + host + "' is no host name or address",
                  "--host", "For instance wring.example.org, or 10.0.0.7; without a port.");
    names.push_back((is_address(host) ? "IP:" : "DNS:") + host);
  }
  return join(names, ",");
}

}  // namespace

struct Authority::Pair {
  Key key;
  Certificate certificate;
  std::string pem;

  TlsFiles sign(const std::string& name, int days, const std::vector<Extension>& extensions) const {
    const Key own = make_key();
    const auto made = make_certificate(name, own.get(), certificate.get(), key.get(), days, extensions);
    return {pem, pem_of(made.get()), pem_of(own.get())};
  }
};

Authority::Authority(const fs::path& folder) : pair_(std::make_unique<Pair>()) {
  if (const auto known = read_tls(folder, "ca")) {
    pair_->key = parse_key(known->key);
    pair_->certificate = parse_certificate(known->certificate);
  } else {
    pair_->key = make_key();
    pair_->certificate =
        make_certificate("Wring CA", pair_->key.get(), nullptr, pair_->key.get(), kAuthorityDays,
                         {{NID_basic_constraints, "critical,CA:TRUE,pathlen:0"},
                          {NID_key_usage, "critical,keyCertSign,cRLSign"},
                          {NID_subject_key_identifier, "hash"}});
    const std::string pem = pem_of(pair_->certificate.get());
    write_tls(folder, "ca", {pem, pem, pem_of(pair_->key.get())});
  }
  pair_->pem = pem_of(pair_->certificate.get());
}

Authority::~Authority() = default;

TlsFiles Authority::sign_server(const std::vector<std::string>& hosts, int days) const {
  return pair_->sign("Wring server", days,
                     {{NID_basic_constraints, "critical,CA:FALSE"},
                      {NID_key_usage, "critical,digitalSignature"},
                      {NID_ext_key_usage, "serverAuth"},
                      {NID_subject_alt_name, subject_names(hosts)}});
}

TlsFiles Authority::sign_worker(const std::string& name, int days) const {
  const auto safe = [](unsigned char c) { return std::isalnum(c) || c == '-' || c == '_' || c == '.'; };
  if (name.empty() || name.size() > 50 || !std::all_of(name.begin(), name.end(), safe) || name[0] == '.')
    throw Error(ErrorCode::kInvalidArgument, "BAD_WORKER_NAME",
                "a worker's name is 1 to 50 letters, digits, '-', '_' and '.'", "NAME");
  return pair_->sign(std::string(kWorkerPrefix) + name, days,
                     {{NID_basic_constraints, "critical,CA:FALSE"},
                      {NID_key_usage, "critical,digitalSignature"},
                      {NID_ext_key_usage, "clientAuth"}});
}

void write_tls(const fs::path& folder, const std::string& name, const TlsFiles& files) {
  const mode_t before = ::umask(0077);
  fs::create_directories(folder);
  write_file_atomic(folder / (name + ".key"), files.key);
  write_file_atomic(folder / (name + ".crt"), files.certificate);
  write_file_atomic(folder / "ca.crt", files.ca);
  ::umask(before);
}

std::optional<TlsFiles> read_tls(const fs::path& folder, const std::string& name) {
  if (!fs::exists(folder / (name + ".crt"))) return std::nullopt;
  return TlsFiles{read_file(folder / "ca.crt", 1u << 20), read_file(folder / (name + ".crt"), 1u << 20),
                  read_file(folder / (name + ".key"), 1u << 20)};
}

std::vector<std::string> hosts_of(const std::string& certificate_pem) {
  const auto certificate = parse_certificate(certificate_pem);
  const std::unique_ptr<GENERAL_NAMES, Deleter<GENERAL_NAMES_free>> names(static_cast<GENERAL_NAMES*>(
      X509_get_ext_d2i(certificate.get(), NID_subject_alt_name, nullptr, nullptr)));
  std::vector<std::string> hosts;
  for (int i = 0; names && i < sk_GENERAL_NAME_num(names.get()); ++i) {
    const GENERAL_NAME* name = sk_GENERAL_NAME_value(names.get(), i);
    if (name->type != GEN_DNS) continue;
    hosts.emplace_back(reinterpret_cast<const char*>(ASN1_STRING_get0_data(name->d.dNSName)),
                       static_cast<std::size_t>(ASN1_STRING_length(name->d.dNSName)));
  }
  return hosts;
}

}  // namespace wring
