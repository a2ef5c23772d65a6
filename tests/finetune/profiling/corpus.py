"""A written set of sentences, Chinese and English: what is looked for stands in ⟦kind:...⟧, and
everything else is a trap that must be left alone. Every number is invented or a test number."""

import re

from finetune.profiling.personal import Found, Kind

POSITIVES = """
请把合同发到 ⟦email:zhang.wei@huadong-tech.cn⟧,谢谢。
Write to ⟦email:Alice.O-Brien+hr@mail.example.co.uk⟧ or ⟦email:bob_92@gmail.com⟧.
邮箱是⟦email:li_na@qq.com⟧吗?
{"contact": "⟦email:ops@corp.io⟧"}
<⟦email:j.smith@uni-bonn.de⟧> wrote:
Mail:⟦email:first.last@sub.domain.example.com⟧.
我的手机是⟦phone:13800138000⟧,微信同号。
联系电话:⟦phone:138-0013-8000⟧
请致电⟦phone:+86 139 1234 5678⟧确认。
电话⟦phone:8615912345678⟧打不通
收货人王芳,⟦phone:18612345678⟧,北京市朝阳区
座机:⟦phone:010-62345678⟧转801
办公室电话 ⟦phone:(0571) 8765-4321⟧
传真:⟦phone:0755-26543210⟧
Call me at ⟦phone:(415) 555-2671⟧ after six.
phone ⟦phone:415-555-2671⟧, ask for Tim
Her number is ⟦phone:+1 212 555 0187⟧.
My cell: ⟦phone:212.555.0187⟧
Ring ⟦phone:+44 20 7946 0958⟧ in London.
Tel. ⟦phone:+49 (0)30 901820⟧
WhatsApp ⟦phone:+55 11 91234 5678⟧
⟦phone:+852 2345 6789⟧ is the Hong Kong office.
身份证号⟦resident_id:11010519491231002X⟧
证件:⟦resident_id:440524188001010014⟧,请核对
My Chinese ID is ⟦resident_id:310106199003072817⟧.
⟦resident_id:510104198511123342⟧
卡号 ⟦bank_card:6222021000112345672⟧ 转账
工行⟦bank_card:6217 0012 3004 5678 907⟧
Pay with ⟦bank_card:4111 1111 1111 1111⟧, exp 04/27.
card: ⟦bank_card:5555-5555-5555-4444⟧
Amex ⟦bank_card:378282246310005⟧
招商银行信用卡⟦bank_card:6225881612345677⟧的账单
护照号:⟦passport:E12345678⟧
护照号码 ⟦passport:EA1234567⟧,有效期至2030年
Passport No. ⟦passport:G23456789⟧
US passport ⟦passport:512345678⟧ was lost
IBAN ⟦iban:DE89 3704 0044 0532 0130 00⟧
Überweisung an ⟦iban:GB82WEST12345698765432⟧ bitte
⟦iban:FR1420041010050500013M02606⟧
服务器 ⟦ip_address:10.20.30.41⟧ 连不上
ssh root@⟦ip_address:203.0.113.77⟧
Blocked ⟦ip_address:198.51.100.23⟧:443 at the gate.
来自⟦ip_address:114.114.114.114⟧的请求
Host ⟦ip_address:2001:db8:85a3::8a2e:370:7334⟧ is up.
peer ⟦ip_address:fe80:0:0:0:204:61ff:fe9d:f156⟧ answered
postgres://⟦url_credentials:app:s3cr3t-Pw⟧@db.internal:5432/main
git clone https://⟦url_credentials:deploy:k8sT0ken99⟧@git.corp.cn/app.git
redis://⟦url_credentials:default:Zx81qqP0⟧@cache:6379/0
AWS_ACCESS_KEY_ID=⟦api_key:AKIAIOSFODNN7EXAMPLE⟧
export GH=⟦api_key:ghp_16C7e42F292c6912E7710c838347Ae178B4a⟧
Bearer ⟦api_key:eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.dozjgNryP4J3jVmNHl0w5N⟧
openai ⟦api_key:sk-proj-4f9aB2c7D1e8F3g6H5i0J4k2L9m7N1o3⟧
阿里云 ⟦api_key:LTAI5tQZ8YbXk3VdTn2RmW7c⟧
slack: ⟦api_key:xoxb-123456789012-abcdefGHIJKL3456⟧
⟦api_key:glpat-Ab3dEf6hIj9kLm2nOp5q⟧
maps ⟦api_key:AIzaSyA1b2C3d4E5f6G7h8I9j0K1l2M3n4O5p6Q⟧
password: ⟦password:Tr0ub4dor&3⟧
密码是⟦password:qwe123456⟧,别告诉别人
口令:⟦password:Abc@2024⟧
"client_secret": "⟦password:9f8e7d6c5b4a⟧"
the pwd is ⟦password:hunter2x⟧
⟦private_key:-----BEGIN RSA PRIVATE KEY-----\\nMIIEowIBA\\n-----END RSA PRIVATE KEY-----⟧
⟦private_key:-----BEGIN PRIVATE KEY-----\\nb3BlbnNzaC1rZXktdjE\\n-----END PRIVATE KEY-----⟧"
用户⟦email:wang@163.com⟧的电话是⟦phone:13912345678⟧,身份证⟦resident_id:440305200106150020⟧
"""

TRAPS = """
订单号 15912345678 已发货
您的订单编号:2024031512345678
快递单号 SF1234567890123
运单号13812345678
流水号 6222021000112345672
Order 4155552671 shipped.
Order #4111111111111111 is late
invoice no. 415-555-2671
Tracking number 1Z999AA10123456784
版本 1.2.3.4 已发布
Upgrade to v10.0.19041.1
Chrome/120.0.6099.109 on Windows
driver version 31.0.15.3623
firmware 7.0.2.9
见第 3.2.1.4 节
section 4.1.2.7 says so
localhost is 127.0.0.1, any is 0.0.0.0
netmask 255.255.255.0
it took 12:34:56 to run
at 2024-03-15T12:34:56Z
MAC 00:1a:2b:3c:4d:5e
std::vector<int> a; ab::cd();
commit 9fceb02d0ae598e95dc970b74767f19372d61af8
sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855
uuid 550e8400-e29b-41d4-a716-446655440000
id=123456789012345678901234
timestamp 1710489600000
1710489600
π ≈ 3.14159265358979
总额 1380013800000 元
身份证号 110105194912310021
身份证 110105199902300011
card 4111111111111112
number 6222021000112345670
1234567890123456
0000000000000000
ISBN 978-3-16-148410-0
IBAN DE89370400440532013001
GB00WEST12345698765432
git@github.com:org/repo.git
see logo@2x.png
npm i react@18.2.0
@decorator and user@localhost
a @ b . c
password is required
The password must have 8 characters.
密码不能为空
请输入密码:******
password: <your-password>
password=changeme
api_key = os.environ["API_KEY2"]
secret = get_secret(1)
password: ${DB_PASSWORD1}
https://example.org/a:b@c
http://user:password@host
https://<user>:<pass>@host
sk-learn and sk-8
AKIA is a prefix
the task-sk-manager-component-with-long-name
ssh-rsa AAAAB3NzaC1yc2EAAAADAQABAAABAQ
-----BEGIN CERTIFICATE-----
-----BEGIN PUBLIC KEY-----
房间 010-2 楼
2024-03-15
价格 138,001,380.00
score 1-0, 2-3
3+4=7, x+12345678
UTC+08:00
the ratio is 1.5:2.5:3.5
型号 BX-13800138000
护照办理需要15天
passport photo 35x45 mm
A1234567 is a part number
C++20 and 0x1380013800
温度 36.5,血压 120/80
12345678
phone numbers have 11 digits
"""

# Written after the patterns, and not looked at while they were: what they do on it is no fit to it.
UNSEEN = """
客户李雷(⟦phone:17712345678⟧)反馈问题,邮箱⟦email:lilei@foxmail.com⟧
to: ⟦email:support-team@data.gov.uk⟧; cc: ⟦email:m@x.ai⟧
固话⟦phone:021-58881234⟧或手机⟦phone:189 1234 5678⟧
请加微信:⟦phone:13500001111⟧
Fax: ⟦phone:+1-650-253-0000⟧
Reach me on ⟦phone:(650) 253-0000⟧ or at ⟦email:me@home.net⟧.
⟦phone:+33 1 42 68 53 00⟧ (Paris)
公民身份号码:⟦resident_id:330102197802280013⟧?
刷卡 ⟦bank_card:6230580000123456787⟧ 消费 99 元
Visa ⟦bank_card:4012-8888-8888-1881⟧ was declined
Mastercard ⟦bank_card:2223000048400011⟧
持⟦passport:G87654321⟧号护照入境
旅客护照 ⟦passport:EB7654321⟧
IBAN: ⟦iban:NL91 ABNA 0417 1643 00⟧
The box at ⟦ip_address:172.16.254.1⟧ is down; use ⟦ip_address:8.8.8.8⟧.
网关⟦ip_address:192.168.1.254⟧,掩码 255.255.255.0
mongodb+srv://⟦url_credentials:root:Pa55w0rd99⟧@cluster0.abcde.mongodb.net/test
curl -u is worse than ftp://⟦url_credentials:anna:77xYz77x⟧@files.corp/
HF_TOKEN=⟦api_key:hf_AbCdEfGhIjKlMnOpQrStUvWxYz012345⟧
stripe ⟦api_key:sk_live_4eC39HqLyjWDarjtT1zdp7dc⟧
登录密码:⟦password:zhang1990⟧
My password is ⟦password:Summer2023!⟧, please reset it.
DB_PASSWORD=⟦password:x9!kLm22⟧
api-key: ⟦password:0a1b2c3d4e5f6071⟧
⟦private_key:-----BEGIN EC PRIVATE KEY-----\\nMHcCAQEEIIGl\\n-----END EC PRIVATE KEY-----⟧
合同编号 HT-2023-13912345678
商品货号6222021234567890123
第12.1.1.2条
Ref 650-253-0000/A
Python 3.11.7 and CUDA 12.1.105.1
IPv6 ::1 is home
GET /v1/10.1.2.3.4/x
e-mail addresses contain an @ sign
foo@bar
the price rose from 13,800,138,000 to 15,900,000,000
手机号是11位数字
2,147,483,647 and 9007199254740991
18:30-19:45
password strength: weak
Set PASSWORD=... in the file
密码长度为8到16位
token: the
secret: "${{ secrets.TOKEN1 }}"
0123456789abcdef0123456789abcdef
base64 TWFuIGlzIGRpc3Rpbmd1aXNoZWQ=
护照照片尺寸 33x48
DE12 is a road
身份证 330102197802290019 的二月没有29日
account 8212345678
+1 point for you, +20 more
三千零一十四 3.14.15.92
http://localhost:8000/@user
"""

_MARK = re.compile(r"⟦([a-z_]+):(.*?)⟧")


def corpus(lines: str = POSITIVES + TRAPS) -> list[tuple[str, list[Found]]]:
    return [_read(line) for line in lines.splitlines() if line]


def _read(line: str) -> tuple[str, list[Found]]:
    text, found, at = "", [], 0
    for match in _MARK.finditer(line):
        text += line[at : match.start()]
        found.append(Found(len(text), len(text) + len(match[2]), Kind(match[1])))
        text += match[2]
        at = match.end()
    return text + line[at:], found
