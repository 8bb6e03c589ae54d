"""Chinese words of the drawn world, by the names in `world`.

A noun is "只 狗": its classifier and the noun. A verb is "站@" where a place follows it ("站在街上", "站着"),
"@散步" where it follows the place ("在街上散步").
"""

from __future__ import annotations

from typing import Final

__all__ = ["COLOURS", "KIND_VERBS", "LIGHT", "NOUNS", "PLACES", "THING_VERBS"]

COLOURS: Final = {
    "red": "红色",
    "blue": "蓝色",
    "white": "白色",
    "black": "黑色",
    "green": "绿色",
    "yellow": "黄色",
    "orange": "橙色",
    "pink": "粉色",
    "purple": "紫色",
    "brown": "棕色",
}
PLACES: Final = {
    "street": ("街上", "马路上", "城市街道上", "路边"),
    "grass": ("草地上", "公园里", "绿色的草坪上"),
    "beach": ("海滩上", "沙滩上", "海边"),
    "table": ("桌子上", "木桌上", "餐桌上"),
    "room": ("客厅里", "房间里", "屋子里", "地板上"),
    "field": ("田野里", "草原上", "野外"),
    "sea": ("水里", "海里", "海面上", "海浪中"),
    "snow": ("雪地里", "雪山上", "雪坡上"),
    "night": ("夜晚的街上", "夜色中", "月光下"),
    "forest": ("森林里", "树林里", "树丛中"),
    "sky": ("天空中", "空中", "蓝天上", "云层之上"),
    "desert": ("沙漠里", "沙丘上", "干燥的沙地上"),
}
LIGHT: Final = {
    "day": ("阳光下，", "晴朗的一天，"),
    "evening": ("傍晚，", "日落时，"),
    "grey": ("阴天里，", "灰色的天空下，"),
}
KIND_VERBS: Final = {
    "person": ("站@", "站@", "@摆姿势", "@看着镜头"),
    "animal": ("站@", "站@", "@走动", "@休息"),
    "bird": ("站@", "@走动", "@休息"),
    "flier": ("@飞翔",),
    "aircraft": ("@飞行",),
    "vehicle": ("停@", "停@", "@行驶"),
    "boat": ("漂@", "@航行"),
    "fish": ("@游动", "@跳跃"),
    "food": ("放@",),
    "object": ("放@",),
    "plant": ("长@",),
    "building": ("立@",),
}
THING_VERBS: Final = {
    "surfer": ("@冲浪",),
    "skier": ("@滑雪",),
    "snowboarder": ("@滑雪",),
    "cyclist": ("@骑自行车", "@骑车"),
    "runner": ("@跑步", "@奔跑"),
    "walker": ("@散步", "@走路"),
    "rower": ("@划船",),
    "swimmer": ("@游泳",),
    "rider": ("@骑马",),
    "dancer": ("@跳舞",),
    "campfire": ("@燃烧",),
    "snowman": ("立@",),
    "traffic light": ("立@",),
    "stop sign": ("立@",),
    "rock": ("躺@",),
}
_TABLE: Final = """
man|个 男人, 名 男子, 个 人
woman|个 女人, 位 女士, 个 人
boy|个 男孩, 个 孩子
girl|个 女孩, 个 孩子
old man|位 老人, 位 老爷爷, 个 男人
old woman|位 老奶奶, 位 老人, 个 女人
bearded man|个 大胡子男人, 个 男人
surfer|名 冲浪者, 个 男人, 个 人
skier|名 滑雪者, 个 人, 个 男人
snowboarder|名 滑雪者, 个 人, 个 男人
cyclist|名 骑车人, 个 男人, 个 人
runner|个 男人, 名 跑步者, 个 男孩
walker|个 女人, 位 女士, 个 女孩
rower|个 男人, 个 人
swimmer|名 游泳者, 个 男人, 个 人
rider|个 男人, 名 骑手, 个 人
dancer|个 女人, 名 舞者
dog|只 狗, 条 狗, 只 小狗
cat|只 猫, 只 小猫
black cat|只 黑猫, 只 猫
horse|匹 马, 匹 小马
cow|头 牛, 只 动物
sheep|只 羊, 只 绵羊
pig|头 猪, 只 动物
elephant|头 大象
giraffe|只 长颈鹿
zebra|匹 斑马, 只 动物
monkey|只 猴子
rabbit|只 兔子
squirrel|只 松鼠
camel|头 骆驼, 只 动物
turtle|只 乌龟
crab|只 螃蟹
penguin|只 企鹅
duck|只 鸭子
swan|只 天鹅
rooster|只 鸡, 只 公鸡
owl|只 猫头鹰
parrot|只 鹦鹉, 只 鸟
bird|只 鸟, 只 小鸟
whale|头 鲸鱼
dolphin|只 海豚
car|辆 汽车, 辆 车
jeep|辆 吉普车, 辆 汽车
taxi|辆 出租车
bus|辆 公交车, 辆 公共汽车
truck|辆 卡车
fire truck|辆 消防车
motorcycle|辆 摩托车
bicycle|辆 自行车
scooter|辆 踏板车
tractor|辆 拖拉机
train|列 火车
sailboat|艘 帆船, 艘 船
ship|艘 轮船, 艘 船
motorboat|艘 快艇, 艘 船
canoe|条 独木舟, 条 船
plane|架 飞机
helicopter|架 直升机
kite|只 风筝
balloon|个 气球
pizza|块 披萨
hamburger|个 汉堡
hot dog|个 热狗
sandwich|个 三明治
cake|个 蛋糕, 个 生日蛋糕
donut|个 甜甜圈
cookie|块 饼干
ice cream|支 冰淇淋
apple|个 苹果, 个 水果
banana|根 香蕉
orange|个 橙子, 个 水果
strawberry|颗 草莓
watermelon|块 西瓜
carrot|根 胡萝卜
broccoli|棵 西兰花
coffee|杯 咖啡
wine|杯 红酒
noodles|碗 面条
bottle|个 瓶子
knife|把 刀
vase|个 花瓶
laptop|台 笔记本电脑, 台 电脑
phone|部 手机
book|本 书
clock|个 时钟
teddy bear|只 泰迪熊
guitar|把 吉他
chair|把 椅子
couch|张 沙发
bed|张 床
tv|台 电视机
plant|盆 植物
suitcase|个 行李箱, 个 箱子
backpack|个 背包, 个 包
box|个 箱子
umbrella|把 雨伞, 把 伞
beach umbrella|把 遮阳伞, 把 伞
ball|个 足球, 个 球
frisbee|个 飞盘
skateboard|块 滑板
tent|顶 帐篷
campfire|堆 篝火
snowman|个 雪人
tree|棵 树, 棵 大树
palm tree|棵 棕榈树, 棵 树
pine tree|棵 松树, 棵 树
cactus|棵 仙人掌
flower|朵 花, 朵 向日葵
house|座 房子, 栋 房子
traffic light|个 红绿灯
stop sign|块 停车标志
rock|块 石头
"""
NOUNS: Final = {
    name: tuple((classifier, noun) for classifier, noun in (pair.split() for pair in nouns.split(",")))
    for name, nouns in (row.split("|") for row in _TABLE.strip().splitlines())
}
"""Of each thing: (classifier, noun), the usual first."""
